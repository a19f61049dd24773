//! Adding up what became of attempts.

use std::process;

use anyhow::Result;
use flowguard_tests::client::Outcome;
use nix::errno::Errno;

/// What became of the attempts so far.
#[derive(Debug)]
pub(crate) struct Attempts(Outcome);

impl Default for Attempts {
    fn default() -> Self {
        Self(Outcome {
            pid: process::id(),
            ..Outcome::default()
        })
    }
}

impl Attempts {
    /// Adds one attempt.
    ///
    /// # Errors
    /// When it failed with anything but an errno: the trick itself did not work.
    pub(crate) fn add(&mut self, result: Result<()>) -> Result<()> {
        let outcome = &mut self.0;
        let Err(error) = result else {
            outcome.connected += 1;
            return Ok(());
        };
        match error.downcast_ref() {
            Some(Errno::ECONNREFUSED) => outcome.refused += 1,
            Some(Errno::EPERM) => outcome.not_permitted += 1,
            // A blocking connect that exceeds SO_SNDTIMEO says the latter.
            Some(Errno::ETIMEDOUT | Errno::EINPROGRESS) => outcome.timed_out += 1,
            Some(errno) => *outcome.other.entry(errno.to_string()).or_default() += 1,
            None => return Err(error),
        }
        Ok(())
    }

    /// All of them.
    pub(crate) fn outcome(&self) -> &Outcome {
        &self.0
    }
}
