//! A system container of Debian's LXC, in the lab's host namespace and cgroups.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    container::GATEWAY_MAC,
    lab::Lab,
    process::{Job, run},
    wait::until,
};

/// Making and starting a container is slow on a small machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The bridge that containers are on; its address is their gateway.
const BRIDGE: &str = "lxcbr0";
/// Instead of the template's init, which asks for an address by DHCP and drops the one it has.
const INIT: &str = "/bin/busybox sleep 1000000";
/// The containers' gateway.
pub const GATEWAY: &str = "10.89.0.1";

/// LXC looks its bridge up in sysfs, which shows the devices of the namespace it was mounted in. The
/// cgroups are below `/sys` too, so that only its devices are exchanged.
const WITH_OWN_DEVICES: &str = "mount -t sysfs sysfs \"$1\" && \
     mount --bind \"$1/class/net\" /sys/class/net && \
     mount --bind \"$1/devices/virtual/net\" /sys/devices/virtual/net && \
     shift && exec \"$@\"";

/// A container with a busybox system; it ends with the lab's cgroup.
#[derive(Debug)]
pub struct Lxc<'lab> {
    lab: &'lab Lab,
    path: PathBuf,
    name: String,
    monitor: Job,
}

impl<'lab> Lxc<'lab> {
    /// Makes and starts a container, whose root has all the rights that LXC gives, and sees the
    /// programs and libraries of this machine and the files of the lab.
    ///
    /// # Errors
    /// When Debian's packages lxc and busybox-static are missing, or the container
    /// does not start; with LXC's words.
    pub fn start(lab: &'lab Lab, name: &str) -> Result<Self> {
        lab.host().ip(&[
            format!("link add {BRIDGE} address {GATEWAY_MAC} type bridge"),
            format!("addr add {GATEWAY}/24 dev {BRIDGE}"),
            format!("link set {BRIDGE} up"),
        ])?;
        let path = lab.dir().join("lxc");
        fs::create_dir(&path)?;
        let base = path.join("base.conf");
        fs::write(&base, configuration(lab, name))?;
        // The container's mounts vanish with its monitor's namespace.
        let mut create = lab
            .place("lxc")?
            .private_mounts()
            .command("/usr/bin/lxc-create")?;
        create.arg("-P").arg(&path).arg("-f").arg(&base);
        create.args(["-n", name, "-t", "busybox"]);
        run(&mut create, PATIENCE)?
            .expect_code(0)
            .context("are lxc and busybox-static installed?")?;
        fs::create_dir(path.join("sysfs"))?;
        Ok(Self {
            monitor: boot(lab, &path, name)?,
            lab,
            path,
            name: name.to_owned(),
        })
    }

    /// Kills the container and starts it again.
    ///
    /// # Errors
    /// When it does not end or does not start; with LXC's words.
    pub fn restart(&mut self) -> Result<()> {
        let mut stop = self.lab.place("tools")?.command("/usr/bin/lxc-stop")?;
        stop.arg("-P").arg(&self.path);
        run(stop.args(["-k", "-n", &self.name]), PATIENCE)?.expect_code(0)?;
        until("the container's monitor to end", PATIENCE, || {
            ensure!(self.monitor.has_ended()?, "it runs");
            Ok(())
        })?;
        self.monitor = boot(self.lab, &self.path, &self.name)?;
        Ok(())
    }

    /// The words before a command that is to run in the container.
    pub fn prefix(&self) -> Vec<String> {
        let path = self.path.display().to_string();
        ["/usr/bin/lxc-attach", "-P", &path, "-n", &self.name, "--"]
            .map(str::to_owned)
            .to_vec()
    }
}

/// Starts the container and waits until it has its network.
fn boot(lab: &Lab, path: &Path, name: &str) -> Result<Job> {
    let mut start = lab.place("lxc")?.private_mounts().command("sh")?;
    start.args(["-c", WITH_OWN_DEVICES, "sh"]);
    start.arg(path.join("sysfs"));
    start.args(["/usr/bin/lxc-start", "-P"]).arg(path);
    start.args(["-n", name, "-F"]);
    let mut monitor = Job::start(&mut start)?;
    let ready = ["cat", "/proc/net/route"];
    monitor.ready("the LXC container to have its route", PATIENCE, || {
        let mut attach = attach(lab, path, name)?;
        let routes = run(attach.args(ready), PATIENCE)?.expect_code(0)?.stdout;
        // The destination 0.0.0.0: a default route.
        ensure!(routes.contains("eth0\t00000000"), "{routes}");
        Ok(())
    })?;
    Ok(monitor)
}

fn attach(lab: &Lab, path: &Path, name: &str) -> Result<Command> {
    let mut command = lab.place("tools")?.command("/usr/bin/lxc-attach")?;
    command.arg("-P").arg(path).args(["-n", name, "--"]);
    Ok(command)
}

fn configuration(lab: &Lab, name: &str) -> String {
    let cgroup = lab.cgroups().relative();
    let cgroup = cgroup.trim_start_matches('/');
    let dir = lab.dir().display().to_string();
    let inside = dir.trim_start_matches('/');
    format!(
        "lxc.net.0.type = veth\n\
         lxc.net.0.link = {BRIDGE}\n\
         lxc.net.0.name = eth0\n\
         lxc.net.0.flags = up\n\
         lxc.net.0.ipv4.address = 10.89.0.2/24\n\
         lxc.net.0.ipv4.gateway = {GATEWAY}\n\
         lxc.cgroup.dir.monitor = {cgroup}/lxc.monitor.{name}\n\
         lxc.cgroup.dir.monitor.pivot = {cgroup}/lxc.pivot\n\
         lxc.cgroup.dir.container = {cgroup}/lxc.payload.{name}\n\
         lxc.apparmor.profile = unconfined\n\
         lxc.console.path = none\n\
         lxc.init.cmd = {INIT}\n\
         lxc.mount.entry = /usr usr none ro,rbind,create=dir 0 0\n\
         lxc.mount.entry = {dir} {inside} none ro,rbind,create=dir 0 0\n"
    )
}
