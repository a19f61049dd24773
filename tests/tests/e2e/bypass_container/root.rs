//! Root of a container, with the rights that engines give and no others.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    bypass_raw::Report,
    client,
    container::Container,
    lab::Lab,
    place::Place,
    process::{Finished, Job, run},
};
use std::{io::Write as _, path::PathBuf, time::Duration};

/// More than any program here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who is root in a container.
#[derive(Debug)]
pub(super) struct Root {
    place: Place,
    /// The program and its arguments that run another with the rights.
    prefix: Vec<String>,
    forge: PathBuf,
    /// Where the container sees files too.
    dir: PathBuf,
}

impl Root {
    /// Root of a container, with `CAP_NET_ADMIN` and `CAP_NET_RAW` only.
    pub(super) fn of(lab: &Lab, container: &Container<'_>) -> Result<Self> {
        let limit = ["setpriv", "--bounding-set=-all,+net_admin,+net_raw", "--"];
        Self::through(lab, container.place(), &limit.map(str::to_owned))
    }

    /// Whoever a program makes of the ones it runs in that place.
    pub(super) fn through(lab: &Lab, place: Place, prefix: &[String]) -> Result<Self> {
        Ok(Self {
            place,
            prefix: prefix.to_vec(),
            forge: client::publish(&client::built("fg-bypass-raw")?, lab.dir())?,
            dir: lab.dir().to_owned(),
        })
    }

    fn command(&self, program: &str) -> Result<Command> {
        let (first, rest) = self.prefix.split_first().context("a program")?;
        let mut command = self.place.command(first)?;
        command.args(rest).arg(program);
        Ok(command)
    }

    /// Runs a program to its end.
    pub(super) fn run(&self, program: &str, args: &[&str]) -> Result<Finished> {
        run(self.command(program)?.args(args), PATIENCE)
    }

    /// Runs `ip` commands.
    pub(super) fn ip(&self, commands: &[&str]) -> Result<()> {
        for line in commands {
            let args: Vec<_> = line.split(' ').collect();
            self.run("ip", &args)?.expect_code(0)?;
        }
        Ok(())
    }

    /// Loads nftables rules.
    pub(super) fn nft(&self, rules: &str) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(rules.as_bytes())?;
        let path = file.path().to_str().context("a plain path")?;
        self.run("nft", &["-f", path])?.expect_code(0)?;
        Ok(())
    }

    /// Runs the forging program, its arguments separated by spaces.
    pub(super) fn forge(&self, way: &str) -> Result<Forged> {
        self.start_forging("true", way)?.finish()
    }

    /// Starts the forging program after a shell command.
    pub(super) fn start_forging(&self, before: &str, way: &str) -> Result<Forging> {
        let script = format!("{before}; exec {} {way}", self.forge.display());
        Ok(Forging {
            way: way.to_owned(),
            job: Job::start(self.command("sh")?.args(["-c", &script]))?,
        })
    }
}

/// The forging program at work.
#[derive(Debug)]
pub(super) struct Forging {
    way: String,
    job: Job,
}

impl Forging {
    /// Waits for its end.
    pub(super) fn finish(self) -> Result<Forged> {
        let finished = self.job.finish(PATIENCE)?.expect_code(0)?;
        let report = serde_json::from_str(&finished.stdout);
        Ok(Forged {
            way: self.way,
            report: report.with_context(|| finished.to_string())?,
        })
    }
}

/// What the forging program achieved.
#[derive(Debug)]
pub(super) struct Forged {
    way: String,
    report: Report,
}

impl Forged {
    /// How many were answered.
    pub(super) fn answered(&self) -> u64 {
        self.report.answered
    }

    /// Checks how many SYNs were sent, and how many of them answered.
    pub(super) fn expect(&self, sent: u64, answered: u64) -> Result<()> {
        ensure!(
            (self.report.sent, self.report.answered) == (sent, answered),
            "expected {answered} of {sent} SYNs answered by `{}`: {:?}",
            self.way,
            self.report
        );
        Ok(())
    }
}
