//! Network namespaces without a name: they live as long as somebody holds the descriptor or runs
//! inside, so there is nothing to remove.

use std::{
    fs::{self, File},
    io::Write as _,
    os::fd::{AsRawFd as _, OwnedFd},
    process::{self, Command},
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sched::{CloneFlags, setns, unshare};

use crate::{
    place::Place,
    process::run,
    wait::{SOON, until},
};

/// A network namespace.
#[derive(Clone, Debug)]
pub struct Netns {
    fd: Arc<OwnedFd>,
}

impl Netns {
    /// A new one, its loopback interface up, without IPv6 duplicate address detection (which
    /// would make each new address unusable for a second).
    ///
    /// # Errors
    /// When the kernel refuses, as it does when the test is not run by root.
    pub fn new() -> Result<Self> {
        let create = || -> Result<OwnedFd> {
            unshare(CloneFlags::CLONE_NEWNET).context("no new network namespace")?;
            Ok(File::open("/proc/thread-self/ns/net")?.into())
        };
        let fd = join(thread::spawn(create).join())?;
        let netns = Self { fd: Arc::new(fd) };
        netns.sysctl("net/ipv6/conf/all/accept_dad", "0")?;
        netns.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        netns.ip(&["link set lo up".to_owned()])?;
        Ok(netns)
    }

    /// The descriptor that keeps the namespace alive.
    pub fn fd(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.fd)
    }

    /// A path by which another process of this user can open the namespace.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.fd.as_raw_fd())
    }

    /// Runs a closure on a thread inside the namespace. Sockets made there stay there.
    ///
    /// # Errors
    /// The closure's, or when the namespace cannot be entered.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let work = || {
            setns(&self.fd, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
            inside()
        };
        thread::scope(|scope| join(scope.spawn(work).join()))
    }

    /// Writes a kernel parameter under `/proc/sys`.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{name}");
        self.enter(|| fs::write(&path, value).with_context(|| format!("{path}={value}")))
    }

    /// Waits until an interface has its link-local address, which it gets when it can be used.
    ///
    /// # Errors
    /// When it has none in time.
    pub fn await_ipv6(&self, interface: &str) -> Result<()> {
        let read = || Ok(fs::read_to_string("/proc/thread-self/net/if_inet6")?);
        until("a link-local address", SOON, || {
            let addresses = self.enter(read)?;
            let is_ready = addresses
                .lines()
                .any(|line| line.starts_with("fe80") && line.ends_with(&format!(" {interface}")));
            ensure!(is_ready, "{interface} has none of {addresses:?}");
            Ok(())
        })
    }

    /// Runs `ip` commands, one a line, inside the namespace.
    ///
    /// # Errors
    /// When one fails; those after it are not run.
    pub fn ip(&self, commands: &[String]) -> Result<()> {
        let mut batch = tempfile::NamedTempFile::new()?;
        batch.write_all(commands.join("\n").as_bytes())?;
        let mut ip: Command = Place::default().netns(self).command("ip")?;
        ip.arg("-batch").arg(batch.path());
        run(&mut ip, SOON)?
            .expect_code(0)
            .with_context(|| format!("ip: {commands:?}"))?;
        Ok(())
    }
}

fn join<T>(result: thread::Result<Result<T>>) -> Result<T> {
    result.map_err(|_| anyhow!("a helper thread panicked"))?
}
