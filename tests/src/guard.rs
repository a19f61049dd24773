//! A daemon under test and its command line.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::de::DeserializeOwned;

use crate::{
    client,
    config::Config,
    lab::Lab,
    process::{Finished, Job, run},
    report::{Detail, Event, Order, Source, Status, Verdict},
    users::User,
    wait::{SOON, until},
};

/// A daemon: started, killed and started again as the test wants; killed when dropped.
#[derive(Debug)]
pub struct Guard<'lab> {
    lab: &'lab Lab,
    program: PathBuf,
    config: PathBuf,
    daemon: Option<Job>,
}

impl<'lab> Guard<'lab> {
    /// Writes the configuration and starts nothing.
    ///
    /// # Errors
    /// When the `flowguard` program is missing.
    pub fn stopped(lab: &'lab Lab, config: &Config) -> Result<Self> {
        let guard = Self {
            lab,
            program: program()?,
            config: lab.dir().join("flowguard.toml"),
            daemon: None,
        };
        guard.configure(&config.to_string())?;
        Ok(guard)
    }

    /// Writes the configuration, starts the daemon and waits until it answers.
    ///
    /// # Errors
    /// When the `flowguard` program is missing or does not get ready; with its own words.
    pub fn start(lab: &'lab Lab, config: &Config) -> Result<Self> {
        let mut guard = Self::stopped(lab, config)?;
        guard.restart()?;
        Ok(guard)
    }

    /// The same guard, from now on run by another build of the program.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn use_layout(&mut self, layout: Layout) -> Result<()> {
        self.program = layout.program()?;
        Ok(())
    }

    /// Replaces the configuration file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, text: &str) -> Result<()> {
        Ok(fs::write(&self.config, text)?)
    }

    /// Ends the daemon and starts it with another configuration file.
    ///
    /// # Errors
    /// When it does not end or does not get ready.
    pub fn restart_configured(&mut self, config: &Config) -> Result<()> {
        self.terminate()?;
        self.configure(&config.to_string())?;
        self.restart()
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.lab.dir().join("control.sock")
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Starts the daemon and waits until it answers.
    ///
    /// # Errors
    /// When it does not; with its own words.
    pub fn restart(&mut self) -> Result<()> {
        self.restart_with(&[])
    }

    /// Starts the daemon with options for `run` and waits until it answers.
    ///
    /// # Errors
    /// When it does not; with its own words.
    pub fn restart_with(&mut self, options: &[&str]) -> Result<()> {
        let mut daemon = self.launch(options, None)?;
        let pid = daemon.pid();
        let ready = daemon.ready("the daemon to answer", SOON, || {
            let status = self.status()?;
            ensure!(status.pid == pid, "another daemon answers: {status:?}");
            Ok(())
        });
        // Kept when it is not ready, too: its words are shown when it is dropped.
        self.daemon = Some(daemon);
        ready
    }

    fn launch(&self, options: &[&str], failpoints: Option<&str>) -> Result<Job> {
        ensure!(self.daemon.is_none(), "the daemon already runs");
        let mut command = self.lab.place("daemon")?.command(&self.program)?;
        command.arg("--config").arg(&self.config).arg("run");
        command.args(options);
        command.envs(failpoints.map(|points| ("FAILPOINTS", points)));
        Job::start(&mut command)
    }

    /// Starts the daemon and does not wait for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn begin(&mut self) -> Result<()> {
        self.daemon = Some(self.launch(&[], None)?);
        Ok(())
    }

    /// Starts the daemon with `FAILPOINTS` (see the crate `fail`) and waits until it ends or answers.
    /// How it ended; none: it answers, and runs.
    ///
    /// # Errors
    /// When it does neither.
    pub fn start_with_failpoints(&mut self, failpoints: &str) -> Result<Option<Finished>> {
        let mut daemon = self.launch(&[], Some(failpoints))?;
        let pid = daemon.pid();
        let ended = until("the daemon to end or to answer", SOON, || {
            if daemon.has_ended()? {
                return Ok(true);
            }
            ensure!(self.status()?.pid == pid, "another daemon answers");
            Ok(false)
        })?;
        if ended {
            return daemon.finish(SOON).map(Some);
        }
        self.daemon = Some(daemon);
        Ok(None)
    }

    /// Waits until the daemon ends by itself.
    ///
    /// # Errors
    /// When it does not run, or does not end in time.
    pub fn await_end(&mut self) -> Result<Finished> {
        let daemon = self.daemon.take().context("the daemon does not run")?;
        daemon.finish(SOON)
    }

    /// Kills the daemon with SIGKILL.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        let daemon = self.signal(Signal::SIGKILL)?;
        daemon.finish(SOON)?.expect_code(128 + 9)?;
        Ok(())
    }

    /// Ends the daemon with SIGTERM, and checks that it ends well.
    ///
    /// # Errors
    /// When it is not running or does not end with exit code 0.
    pub fn terminate(&mut self) -> Result<()> {
        let daemon = self.signal(Signal::SIGTERM)?;
        daemon.finish(SOON)?.expect_code(0)?;
        Ok(())
    }

    fn signal(&mut self, signal: Signal) -> Result<Job> {
        let daemon = self.daemon.take().context("the daemon does not run")?;
        kill(pid_of(&daemon), signal)?;
        Ok(daemon)
    }

    /// Sends SIGHUP.
    ///
    /// # Errors
    /// When the daemon is not running.
    pub fn hang_up(&self) -> Result<()> {
        let daemon = self.daemon.as_ref().context("the daemon does not run")?;
        Ok(kill(pid_of(daemon), Signal::SIGHUP)?)
    }

    /// Stops the daemon as it stands, until the answer is dropped: SIGSTOP, then SIGCONT.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause(&self) -> Result<Paused> {
        let daemon = self.daemon.as_ref().context("the daemon does not run")?;
        let pid = pid_of(daemon);
        kill(pid, Signal::SIGSTOP)?;
        Ok(Paused(pid))
    }

    /// Process id of the daemon.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pid(&self) -> Result<u32> {
        let daemon = self.daemon.as_ref().context("the daemon does not run")?;
        Ok(daemon.pid())
    }

    /// Runs a `flowguard` command that has to find the daemon by the configuration file alone.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn cli_by_file(&self, args: &[&str]) -> Result<Finished> {
        let mut command = self.lab.place("tools")?.command(&self.program)?;
        command.arg("--config").arg(&self.config);
        run(command.args(args), SOON)
    }

    /// Starts a `flowguard` command as another user, and does not wait for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_as(&self, user: User, args: &[&str]) -> Result<Job> {
        let program = client::publish(&self.program, self.lab.dir())?;
        let mut command = self.lab.place("tools")?.user(user).command(program)?;
        command.arg("--socket").arg(self.socket());
        Job::start(command.args(args))
    }

    /// What the running daemon wrote to its standard error.
    ///
    /// # Errors
    /// When it is not running.
    pub fn log(&self) -> Result<String> {
        let daemon = self.daemon.as_ref().context("the daemon does not run")?;
        daemon.stderr()
    }

    /// Runs a `flowguard` command with this configuration, whatever its exit code.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn cli(&self, args: &[&str]) -> Result<Finished> {
        let mut command = self.lab.place("tools")?.command(&self.program)?;
        self.run_in(&mut command, args)
    }

    /// Runs a `flowguard` command as another user.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn cli_as(&self, user: User, args: &[&str]) -> Result<Finished> {
        let program = client::publish(&self.program, self.lab.dir())?;
        let place = self.lab.place("tools")?.user(user);
        self.run_in(&mut place.command(program)?, args)
    }

    fn run_in(&self, command: &mut Command, args: &[&str]) -> Result<Finished> {
        command.arg("--config").arg(&self.config);
        if !args.contains(&"--socket") {
            // The daemon is reached whatever has become of the file.
            command.arg("--socket").arg(self.socket());
        }
        run(command.args(args), SOON)
    }

    /// Runs a `flowguard` command that must succeed, and returns what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        Ok(self.cli(args)?.expect_code(0)?.stdout)
    }

    /// Runs a `flowguard` command that must succeed, and reads what it printed as JSON.
    ///
    /// # Errors
    /// When it fails or prints something else.
    pub fn json<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T> {
        let stdout = self.ok(args)?;
        serde_json::from_str(&stdout).with_context(|| format!("{args:?} printed {stdout:?}"))
    }

    /// `status --json`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn status(&self) -> Result<Status> {
        self.json(&["status", "--json"])
    }

    /// `sources --json --all`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn sources(&self) -> Result<Vec<Source>> {
        self.json(&["sources", "--json", "--all"])
    }

    /// `sources --json --all --offline`.
    ///
    /// # Errors
    /// When there is nothing to read.
    pub fn sources_offline(&self) -> Result<Vec<Source>> {
        self.json(&["sources", "--json", "--all", "--offline"])
    }

    /// `events --json`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn events(&self) -> Result<Vec<Event>> {
        self.json(&["events", "--json"])
    }

    /// `verdicts --json`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn verdicts(&self) -> Result<Vec<Verdict>> {
        self.json(&["verdicts", "--json"])
    }

    /// `verdicts --audit --json`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn audit(&self) -> Result<Vec<Order>> {
        self.json(&["verdicts", "--audit", "--json"])
    }

    /// `show SOURCE --json`.
    ///
    /// # Errors
    /// When the source is not known.
    pub fn show(&self, source: &str) -> Result<Detail> {
        self.json(&["show", source, "--json"])
    }
}

impl Drop for Guard<'_> {
    #[expect(
        clippy::print_stderr,
        reason = "the test runner shows it when the test fails"
    )]
    fn drop(&mut self) {
        if let Ok(log) = self.log()
            && !log.is_empty()
        {
            eprintln!("--- stderr of the daemon\n{log}---");
        }
    }
}

/// A daemon that does nothing until this is dropped.
#[derive(Debug)]
pub struct Paused(Pid);

impl Drop for Paused {
    fn drop(&mut self) {
        // Fails when the daemon was killed meanwhile.
        kill(self.0, Signal::SIGCONT).ok();
    }
}

fn pid_of(job: &Job) -> Pid {
    Pid::from_raw(job.pid().cast_signed())
}

/// A build of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The program under test.
    Own,
    /// The same with larger counters and the next contract.
    Grown,
}

impl Layout {
    fn program(self) -> Result<PathBuf> {
        match self {
            Self::Own => program(),
            Self::Grown => located("FLOWGUARD_GROWN_BIN", "../tested/dev/flowguard-grown"),
        }
    }
}

/// The `flowguard` program under test.
///
/// # Errors
/// When it is missing.
pub fn program() -> Result<PathBuf> {
    located("FLOWGUARD_BIN", "flowguard")
}

/// The program that a variable names, or where it is built.
fn located(variable: &str, built: &str) -> Result<PathBuf> {
    let program = match env::var_os(variable) {
        Some(program) => PathBuf::from(program),
        None => client::built(built)?,
    };
    ensure!(
        program.exists(),
        "there is no program {}: run the tests with `cargo xtask test`, which builds it",
        program.display()
    );
    Ok(program)
}
