//! A disk that fails, to the daemon's database alone: its system calls end with EIO, and are not
//! carried out.

use std::{fs, process::Command};

use anyhow::{Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    guard::Guard,
    lab::Lab,
    process::Job,
    wait::{SOON, until},
};

/// strace, attached to the thread of the database; when it is dropped, nothing fails any more.
#[derive(Debug)]
pub struct FailingDisk(Job);

impl FailingDisk {
    /// Lets all calls of one kind fail from now on.
    ///
    /// # Errors
    /// When the daemon does not run, or strace cannot attach to it.
    pub fn under(guard: &Guard<'_>, lab: &Lab, call: &str) -> Result<Self> {
        let thread = database_thread(guard.pid()?)?;
        let mut command = Command::new("strace");
        for name in ["state.db", "state.db-wal"] {
            command.arg("-P").arg(lab.dir().join(name));
        }
        command
            .args(["-e", &format!("inject={call}:error=EIO")])
            .args(["-o", "/dev/null", "-p", &thread]);
        let strace = Job::start(&mut command)?;
        until("strace to attach", SOON, || {
            let said = strace.stderr()?;
            ensure!(said.contains("attached"), "{said}");
            Ok(())
        })?;
        Ok(Self(strace))
    }

    /// Lets the calls work again.
    ///
    /// # Errors
    /// When strace does not end.
    pub fn mend(self) -> Result<()> {
        let pid = Pid::from_raw(self.0.pid().cast_signed());
        // It lets go of the thread before it ends.
        kill(pid, Signal::SIGTERM)?;
        self.0.finish(SOON)?;
        Ok(())
    }
}

/// The thread that owns the database, by its name.
fn database_thread(daemon: u32) -> Result<String> {
    for thread in fs::read_dir(format!("/proc/{daemon}/task"))? {
        let thread = thread?;
        if fs::read_to_string(thread.path().join("comm"))?.trim() == "database" {
            return Ok(thread.file_name().to_string_lossy().into_owned());
        }
    }
    bail!("the daemon has no thread called `database`")
}
