//! Newcomers, each with one attempt.

use std::time::Duration;

use anyhow::{Context as _, Result};
use flowguard_tests::{
    client::{self, Outcome},
    lab::Lab,
    process::Job,
};

/// More than hundreds of connections take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// First of the uids of the crowd, for whom no system has names.
const FIRST: u32 = 3_300_000_000;

/// A crowd in the making.
#[derive(Debug)]
pub(super) struct Crowd<'lab>(&'lab Lab);

impl<'lab> Crowd<'lab> {
    pub(super) fn of(lab: &'lab Lab) -> Self {
        Self(lab)
    }

    /// The `n`th of the crowd's users, as a source.
    pub(super) fn source(n: u64) -> String {
        format!("user:#{}", u64::from(FIRST) + n)
    }

    /// So many users connect to port 25 of the world, beginning with the `first`th.
    pub(super) fn users(&self, first: u64, count: u64) -> Result<Outcome> {
        let first = (u64::from(FIRST) + first).to_string();
        self.run(&["uids", &first, &count.to_string(), "198.18.0.1:25"])
    }

    /// Root of so many new namespaces tries to.
    pub(super) fn namespaces(&self, count: u64) -> Result<Outcome> {
        self.run(&["namespaces", &count.to_string(), "198.18.0.1:25"])
    }

    fn run(&self, args: &[&str]) -> Result<Outcome> {
        let program = client::publish(&client::built("fg-crowd")?, self.0.dir())?;
        let mut command = self.0.place("users")?.command(program)?;
        let job = Job::start(command.args(args))?;
        let finished = job.finish(PATIENCE)?.expect_code(0)?;
        serde_json::from_str(&finished.stdout).with_context(|| finished.to_string())
    }
}
