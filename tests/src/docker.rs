//! A Docker engine of the test's own: nothing it makes is shared with one the machine may run.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    container::GATEWAY_MAC,
    lab::Lab,
    process::{Finished, Job, run},
};

/// Starting an engine or a container is slow on a small machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The image, made of busybox.
const IMAGE: &str = "flowguard-test:1";
/// The containers' gateway.
pub const GATEWAY: &str = "10.88.0.1";
/// Cgroup of the lab under which the containers appear.
pub const CGROUP: &str = "docker";

/// An engine in the lab's host namespace; it and its containers end with the lab's cgroup.
#[derive(Debug)]
pub struct Docker<'lab> {
    lab: &'lab Lab,
    socket: PathBuf,
    _engine: Job,
}

impl<'lab> Docker<'lab> {
    /// Starts an engine and makes an image with busybox in it.
    ///
    /// # Errors
    /// When Debian's packages docker.io and busybox-static are missing, or the engine does not
    /// start; with its own words.
    pub fn start(lab: &'lab Lab) -> Result<Self> {
        let home = lab.dir().join("docker");
        let socket = home.join("docker.sock");
        let parent = format!("{}/{CGROUP}", lab.cgroups().relative());
        // Its mounts (container roots, namespaces) vanish with its mount namespace.
        let place = lab.place("dockerd")?.private_mounts();
        let mut command = place.command("/usr/sbin/dockerd")?;
        command
            .arg(option("--data-root", home.join("data")))
            .arg(option("--exec-root", home.join("exec")))
            .arg(option("--pidfile", home.join("pid")))
            .arg(format!("--host=unix://{}", socket.display()))
            .arg(format!("--cgroup-parent={parent}"))
            .arg(format!("--bip={GATEWAY}/24"))
            .arg("--storage-driver=vfs")
            // The lab routes; translated addresses would only get in the way.
            .args(["--iptables=false", "--ip6tables=false", "--ip-masq=false"])
            // Where CAP_SYS_RESOURCE is missing, runc may not raise the limit.
            .arg("--default-ulimit=nofile=1024:1024");
        let mut engine = Job::start(&mut command).context("is docker.io installed?")?;
        engine.ready("the Docker engine to answer", PATIENCE, || {
            run(docker(lab, &socket)?.arg("info"), PATIENCE)?.expect_code(0)
        })?;
        let docker = Self {
            lab,
            socket,
            _engine: engine,
        };
        docker.import(&home.join("image.tar"))?;
        Ok(docker)
    }

    fn import(&self, archive: &Path) -> Result<()> {
        let mut tar = Command::new("tar");
        tar.args(["-C", "/", "-cf"]).arg(archive).arg("bin/busybox");
        // Debian merged /bin into /usr/bin; busybox itself must not be a link to anywhere else.
        tar.arg("--transform=s,.*busybox,bin/busybox,");
        run(&mut tar, PATIENCE)?
            .expect_code(0)
            .context("is busybox-static installed?")?;
        self.ok(&[OsStr::new("import"), archive.as_os_str(), OsStr::new(IMAGE)])?;
        Ok(())
    }

    /// Starts a container that does nothing, and returns its full id.
    ///
    /// # Errors
    /// When it does not start.
    pub fn container(&self, name: &str) -> Result<String> {
        self.run(&["--name", name], "sleep 1000000")
    }

    /// Starts a container with these options for `docker run`, in which busybox's shell runs a line,
    /// and returns its full id.
    ///
    /// # Errors
    /// When it does not start.
    pub fn run(&self, options: &[&str], line: &str) -> Result<String> {
        let (before, behind) = (
            ["run", "--detach"],
            [IMAGE, "/bin/busybox", "sh", "-c", line],
        );
        let id = self.ok(&[&before[..], options, &behind].concat())?;
        let id = id.trim();
        ensure!(id.len() == 64, "no container id: {id:?}");
        Ok(id.to_owned())
    }

    /// Starts a container whose root has `CAP_NET_ADMIN` and `CAP_NET_RAW` besides what Docker gives
    /// anyway, and sees the programs and libraries of this machine and the files of the lab. Its
    /// gateway is [`GATEWAY`]. Returns its full id.
    ///
    /// # Errors
    /// When it does not start.
    pub fn mighty_container(&self, name: &str) -> Result<String> {
        self.lab
            .host()
            .ip(&[format!("link set docker0 address {GATEWAY_MAC}")])?;
        let dir = self.lab.dir().display();
        let mounts = ["/usr:/usr", "/usr/lib:/lib", "/usr/lib64:/lib64"];
        let mounts = mounts.map(str::to_owned).into_iter();
        let mut arguments = [
            "run",
            "--detach",
            "--cap-add=NET_ADMIN",
            "--cap-add=NET_RAW",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend(
            mounts
                .chain([format!("{dir}:{dir}")])
                .map(|mount| format!("--volume={mount}:ro")),
        );
        let command = ["--name", name, IMAGE, "/bin/busybox", "sleep", "1000000"];
        arguments.extend(command.map(str::to_owned));
        let id = self.ok(&arguments)?;
        let id = id.trim();
        ensure!(id.len() == 64, "no container id: {id:?}");
        Ok(id.to_owned())
    }

    /// The words before a command that is to run in a container.
    pub fn prefix(&self, container: &str) -> Vec<String> {
        let host = format!("--host=unix://{}", self.socket.display());
        ["/usr/bin/docker", &host, "exec", container]
            .map(str::to_owned)
            .to_vec()
    }

    /// Runs a busybox command in a container, whatever its exit code.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn exec(&self, container: &str, command: &[&str]) -> Result<Finished> {
        let mut docker = docker(self.lab, &self.socket)?;
        docker
            .args(["exec", container, "/bin/busybox"])
            .args(command);
        run(&mut docker, PATIENCE)
    }

    /// Kills a container and starts it again.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&self, container: &str) -> Result<()> {
        self.ok(&["restart", "--time=0", container])?;
        Ok(())
    }

    /// The setting by which the guard finds names in the engine's files.
    pub fn state(&self) -> String {
        let data = self.socket.with_file_name("data");
        format!("docker-state = {:?}", data.display().to_string())
    }

    /// The setting by which the guard asks the engine for names.
    pub fn socket(&self) -> String {
        format!("docker-socket = {:?}", self.socket.display().to_string())
    }

    /// Kills and removes a container.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn remove(&self, container: &str) -> Result<()> {
        self.ok(&["rm", "--force", container])?;
        Ok(())
    }

    fn ok(&self, arguments: &[impl AsRef<OsStr>]) -> Result<String> {
        let mut docker = docker(self.lab, &self.socket)?;
        docker.args(arguments);
        Ok(run(&mut docker, PATIENCE)?.expect_code(0)?.stdout)
    }
}

fn docker(lab: &Lab, socket: &Path) -> Result<Command> {
    let mut command = lab.place("tools")?.command("/usr/bin/docker")?;
    command.arg(format!("--host=unix://{}", socket.display()));
    Ok(command)
}

fn option(name: &str, path: PathBuf) -> String {
    format!("{name}={}", path.display())
}
