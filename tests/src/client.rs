//! Connections with exactly known outcomes, made by the helper program `fg-client` in the right
//! place and as the right user.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use crate::{
    feature,
    place::Place,
    process::{Finished, Job},
    wait::patience,
};

/// Who waits less was refused at once, milliseconds.
const AT_ONCE_MS: f64 = 5.0;

/// Shorter than a SYN waits for its first retransmission.
pub const IMPATIENT: Duration = Duration::from_millis(300);
/// Longer than one retransmission of a SYN, which comes after a second.
pub const ONE_RETRANSMISSION: Duration = Duration::from_millis(1_500);

/// What became of a client's connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Process id of the client.
    pub pid: u32,
    /// Three-way handshakes completed.
    pub connected: u64,
    /// Failed with ECONNREFUSED.
    pub refused: u64,
    /// Failed with EPERM.
    pub not_permitted: u64,
    /// Neither done nor failed in time.
    pub timed_out: u64,
    /// Whom the kernel said they led to, if the client was to ask.
    #[serde(default)]
    pub peers: BTreeMap<String, u64>,
    /// Failed otherwise, by errno.
    pub other: BTreeMap<String, u64>,
    /// Median time of one attempt, milliseconds.
    pub median_ms: f64,
    /// Time of the slowest attempt, milliseconds.
    pub slowest_ms: f64,
}

impl Outcome {
    /// Checks that all attempts succeeded, and how many they were.
    ///
    /// # Errors
    /// When that is not so.
    pub fn all_connected(&self, count: u64) -> Result<()> {
        self.split(count, 0)
    }

    /// Checks that the guard refused all attempts, and how many they were.
    ///
    /// # Errors
    /// When that is not so.
    pub fn all_refused(&self, count: u64) -> Result<()> {
        self.split(0, count)
    }

    /// Like [`Outcome::all_refused`], and that the client did not have to wait for it.
    ///
    /// # Errors
    /// When that is not so.
    pub fn all_refused_at_once(&self, count: u64) -> Result<()> {
        self.all_refused(count)?;
        let limit_ms = AT_ONCE_MS * f64::from(patience()?);
        // The median, since a busy machine may put any single attempt aside for a while.
        ensure!(
            self.median_ms < limit_ms,
            "expected to be refused within {limit_ms} ms, got {self:?}"
        );
        Ok(())
    }

    /// Checks that there was nobody at the other end, and how many attempts there were.
    ///
    /// # Errors
    /// When that is not so.
    pub fn all_unanswered(&self, count: u64) -> Result<()> {
        let expected = Self {
            refused: count,
            ..self.without_failures()
        };
        ensure!(
            *self == expected,
            "expected {count} refused by the other end, got {self:?}"
        );
        Ok(())
    }

    /// Checks how many attempts succeeded and how many the guard refused, and that nothing else
    /// happened. It refuses with ECONNREFUSED where the kernel lets it choose, else with EPERM.
    ///
    /// # Errors
    /// When that is not so.
    pub fn split(&self, connected: u64, refused: u64) -> Result<()> {
        let chosen = feature::CHOSEN_ERRNO.is_there()?;
        let expected = Self {
            connected,
            refused: if chosen { refused } else { 0 },
            not_permitted: if chosen { 0 } else { refused },
            ..self.without_failures()
        };
        ensure!(
            *self == expected,
            "expected {connected} connected and {refused} refused, got {self:?}"
        );
        Ok(())
    }

    /// Checks that all attempts hung, as they do when packets are dropped.
    ///
    /// # Errors
    /// When that is not so.
    pub fn all_timed_out(&self, count: u64) -> Result<()> {
        let expected = Self {
            timed_out: count,
            ..self.without_failures()
        };
        ensure!(
            *self == expected,
            "expected {count} timed out, got {self:?}"
        );
        Ok(())
    }

    /// The part of the outcome that says nothing about success.
    fn without_failures(&self) -> Self {
        Self {
            pid: self.pid,
            peers: self.peers.clone(),
            median_ms: self.median_ms,
            slowest_ms: self.slowest_ms,
            ..Self::default()
        }
    }
}

/// A client to be run.
#[derive(Clone, Debug)]
pub struct Client {
    program: PathBuf,
    place: Place,
    to: Vec<String>,
    from: Vec<String>,
    port: u16,
    count: u64,
    concurrency: u64,
    per_second: Option<u32>,
    ask_peers: bool,
    mail: bool,
    timeout: Duration,
}

impl Client {
    /// A client that makes one connection to port 25 of [`crate::lab::WORLD`]'s first address.
    pub fn new(program: &Path, place: Place) -> Self {
        Self {
            program: program.to_owned(),
            place,
            to: vec!["198.18.0.1".to_owned()],
            from: Vec::new(),
            port: 25,
            count: 1,
            concurrency: 1,
            per_second: None,
            ask_peers: false,
            mail: false,
            timeout: Duration::from_secs(20),
        }
    }

    /// Started from another file, whose name becomes the process's name.
    #[must_use]
    pub fn program(mut self, program: &Path) -> Self {
        self.program = program.to_owned();
        self
    }

    /// To these destinations in turn: addresses, or ranges `FIRST-LAST`.
    #[must_use]
    pub fn to(mut self, destinations: &[&str]) -> Self {
        self.to = destinations.iter().map(ToString::to_string).collect();
        self
    }

    /// From these addresses in turn: addresses, or ranges `FIRST-LAST`; the kernel's choice if
    /// there are none.
    #[must_use]
    pub fn from(mut self, sources: &[&str]) -> Self {
        self.from = sources.iter().map(ToString::to_string).collect();
        self
    }

    /// To this port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// So many connections.
    #[must_use]
    pub fn count(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// So many at a time.
    #[must_use]
    pub fn concurrency(mut self, concurrency: u64) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Begins so many a second, evenly; as fast as they go otherwise.
    #[must_use]
    pub fn per_second(mut self, rate: u32) -> Self {
        self.per_second = Some(rate);
        self
    }

    /// Asks of each connection whom it leads to: getpeername(2).
    #[must_use]
    pub fn ask_peers(mut self) -> Self {
        self.ask_peers = true;
        self
    }

    /// Hands a mail over each connection.
    #[must_use]
    pub fn mail(mut self) -> Self {
        self.mail = true;
        self
    }

    /// Gives each connection up after this time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self) -> Result<Running> {
        let mut command = self.place.command(&self.program)?;
        command
            .arg(format!("--port={}", self.port))
            .arg(format!("--count={}", self.count))
            .arg(format!("--concurrency={}", self.concurrency))
            .arg(format!("--timeout-ms={}", self.timeout.as_millis()))
            .args(self.ask_peers.then_some("--ask-peers"))
            .args(self.mail.then_some("--mail"))
            .args(self.per_second.map(|rate| format!("--per-second={rate}")))
            .args(self.from.iter().map(|from| format!("--from={from}")))
            .args(&self.to);
        Ok(Running {
            job: Job::start(&mut command)?,
        })
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be run; failed connections are part of the outcome, not errors.
    pub fn run(&self) -> Result<Outcome> {
        self.start()?.outcome()
    }
}

/// A client at work.
#[derive(Debug)]
pub struct Running {
    job: Job,
}

impl Running {
    /// Lets it begin no more connections, and waits for its end.
    ///
    /// # Errors
    /// As [`Self::outcome`].
    pub fn stop(self) -> Result<Outcome> {
        kill(Pid::from_raw(self.job.pid().cast_signed()), Signal::SIGTERM)?;
        self.outcome()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end within two minutes, or fails as a program.
    pub fn outcome(self) -> Result<Outcome> {
        let finished: Finished = self.job.finish(Duration::from_secs(120))?.expect_code(0)?;
        serde_json::from_str(&finished.stdout).with_context(|| finished.to_string())
    }
}

/// Copies a program of this build to where every user may run it.
///
/// # Errors
/// When it was not built.
pub fn publish(program: &Path, directory: &Path) -> Result<PathBuf> {
    let name = program.file_name().context("a program has a name")?;
    let copy = directory.join(name);
    if !copy.exists() {
        // By a process of its own: a descriptor open for writing here could be inherited by a
        // child that another test is just starting, and the kernel runs no file that is open for
        // writing.
        let copied = Command::new("cp").arg(program).arg(&copy).status()?;
        ensure!(
            copied.success(),
            "{} is not there; build everything with: cargo xtask test",
            program.display()
        );
    }
    Ok(copy)
}

/// Where cargo puts a program of this workspace: next to this one, or next to the folder `deps`
/// that this one is in when it is a test.
///
/// # Errors
/// When the kernel does not tell where this executable is.
pub fn built(name: &str) -> Result<PathBuf> {
    let this = env::current_exe()?;
    let folder = this.parent().context("an executable is in a folder")?;
    let folder = match folder.parent() {
        Some(profile) if folder.ends_with("deps") => profile,
        _ => folder,
    };
    Ok(folder.join(name))
}
