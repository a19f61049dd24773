//! Where and as whom a child process runs: network namespace, cgroup, user, mount namespace.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::{prctl, signal::Signal},
    unistd::{setgroups, setresgid, setresuid, write},
};

use crate::{netns::Netns, users::User};

/// Where a process runs. Whatever is not set is the test's own.
#[derive(Clone, Debug, Default)]
pub struct Place {
    netns: Option<Arc<OwnedFd>>,
    cgroup: Option<PathBuf>,
    user: Option<User>,
    private_mounts: bool,
}

impl Place {
    /// In this network namespace.
    #[must_use]
    pub fn netns(mut self, netns: &Netns) -> Self {
        self.netns = Some(netns.fd());
        self
    }

    /// In this cgroup (a directory of the cgroup2 hierarchy).
    #[must_use]
    pub fn cgroup(mut self, directory: &Path) -> Self {
        self.cgroup = Some(directory.to_owned());
        self
    }

    /// As this user, without supplementary groups and capabilities.
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// In a mount namespace of its own, which takes its mounts along when it ends.
    #[must_use]
    pub fn private_mounts(mut self) -> Self {
        self.private_mounts = true;
        self
    }

    /// A command that will run here. It dies with the thread that starts it, gets no input, and
    /// joins its cgroup before it runs, so that each of its sockets is born there.
    ///
    /// # Errors
    /// When the cgroup cannot be opened.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let procs = self.cgroup.as_deref().map(open_procs).transpose()?;
        let (netns, user, private_mounts) = (self.netns.clone(), self.user, self.private_mounts);
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
        let enter = move || -> io::Result<()> {
            if let Some(procs) = &procs {
                write(procs, b"0")?;
            }
            if let Some(netns) = &netns {
                setns(netns, CloneFlags::CLONE_NEWNET)?;
            }
            if private_mounts {
                unshare(CloneFlags::CLONE_NEWNS)?;
                let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
                mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
            }
            if let Some(User { uid, gid }) = user {
                setgroups(&[])?;
                setresgid(gid, gid, gid)?;
                setresuid(uid, uid, uid)?;
            }
            // Last: the kernel forgets it when the user changes.
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes system calls only; it does not allocate
        // and takes no lock.
        unsafe {
            command.pre_exec(enter);
        }
        Ok(command)
    }
}

fn open_procs(directory: &Path) -> Result<File> {
    let path = directory.join("cgroup.procs");
    OpenOptions::new()
        .write(true)
        .open(&path)
        .with_context(|| format!("{} cannot be opened", path.display()))
}
