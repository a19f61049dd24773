//! Child processes with captured output, a deadline, and an end.

use std::{
    fmt,
    fs::File,
    os::unix::{fs::FileExt as _, process::ExitStatusExt as _},
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::wait::until;

/// A process that ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What was run.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote to its standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// All it wrote to its standard error, invalid UTF-8 replaced.
    pub stderr: String,
}

impl Finished {
    /// The exit code, or 128 plus the signal as a shell has it.
    pub fn code(&self) -> i32 {
        let status = self.status;
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
    }

    /// Checks the exit code.
    ///
    /// # Errors
    /// When it is another; the message tells everything about the process.
    pub fn expect_code(self, code: i32) -> Result<Self> {
        ensure!(self.code() == code, "expected exit code {code}; {self}");
        Ok(self)
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ended with {}\n--- stdout\n{}--- stderr\n{}---",
            self.command,
            self.code(),
            self.stdout,
            self.stderr
        )
    }
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Job {
    command: String,
    child: Child,
    stdout: File,
    stderr: File,
}

impl Job {
    /// Starts a command, its output captured.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let shown = format!("{command:?}");
        let child = command
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .spawn()
            .with_context(|| format!("{shown} cannot be started"))?;
        Ok(Self {
            command: shown,
            child,
            stdout,
            stderr,
        })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to its standard output so far.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn stdout(&self) -> Result<String> {
        read_all(&self.stdout)
    }

    /// What it wrote to its standard error so far.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn stderr(&self) -> Result<String> {
        read_all(&self.stderr)
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits until the probe says that this process is ready, and not a moment longer than the
    /// process lives.
    ///
    /// # Errors
    /// When it does not get ready; with what it wrote to its standard error.
    pub fn ready<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let ended = until(what, limit, || match self.child.try_wait()? {
            Some(status) => Ok(Err(anyhow!("{} ended with {status}", self.command))),
            None => probe().map(Ok),
        });
        ended
            .and_then(|ready| ready)
            .with_context(|| format!("its stderr: {}", self.stderr().unwrap_or_default()))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it did not end in time (it is killed then).
    pub fn finish(mut self, limit: Duration) -> Result<Finished> {
        let what = format!("the end of {}", self.command);
        let child = &mut self.child;
        let ended = until(&what, limit, || {
            child.try_wait()?.context("it is still running")
        });
        let (stdout, stderr) = (read_all(&self.stdout)?, read_all(&self.stderr)?);
        let status = ended.with_context(|| format!("its stderr: {stderr}"))?;
        Ok(Finished {
            command: self.command.clone(),
            status,
            stdout,
            stderr,
        })
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Both fail only when the process has already been waited for.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started or takes longer than `limit`. Its exit code is not looked at.
pub fn run(command: &mut Command, limit: Duration) -> Result<Finished> {
    Job::start(command)?.finish(limit)
}

/// Reads by position, since the child shares the file's offset.
fn read_all(file: &File) -> Result<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let got = file.read_at(&mut buffer, bytes.len() as u64)?;
        if got == 0 {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        bytes.extend_from_slice(&buffer[..got]);
    }
}
