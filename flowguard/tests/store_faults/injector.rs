//! A disk that fails, to one thread: system calls of the database on its files end with EIO, and are
//! not carried out.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use flowguard::store::Keeper;
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, gettid},
};

/// strace, attached to the thread of the database; when it is dropped, nothing fails any more.
pub(crate) struct Injector {
    strace: Child,
    trace: PathBuf,
}

impl Injector {
    /// Lets calls fail from now on: `when` is `3` for the third, `3+` for the third and all later
    /// ones.
    pub(crate) fn attach(keeper: &Keeper, folder: &Path, call: &str, when: &str) -> Self {
        let thread = keeper.ask(|_| gettid()).blocking_recv().unwrap();
        let trace = folder.join("trace");
        let mut command = Command::new("strace");
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            command.arg("-P").arg(folder.join(name));
        }
        let mut strace = command
            .args(["-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:error=EIO:when={when}")])
            .arg("-o")
            .arg(&trace)
            .args(["-p", &thread.to_string()])
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace: `cargo xtask setup test` installs it");
        let mut said = String::new();
        let stderr = strace.stderr.take().unwrap();
        BufReader::new(stderr).read_line(&mut said).unwrap();
        assert!(said.contains("attached"), "{said}");
        Self { strace, trace }
    }

    /// Lets the thread go; how many calls failed.
    pub(crate) fn detach(mut self) -> usize {
        self.end();
        let trace = fs::read_to_string(&self.trace).unwrap();
        trace.matches("(INJECTED)").count()
    }

    fn end(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.strace.id()).unwrap());
        // It lets go of the thread before it ends, and has ended if the thread has.
        kill(pid, Signal::SIGTERM).unwrap();
        self.strace.wait().unwrap();
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        if let Ok(None) = self.strace.try_wait() {
            self.end();
        }
    }
}
