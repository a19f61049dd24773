//! Waiting with a deadline instead of sleeping and hoping.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// How long anything that should happen "at once" may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(15);

/// Pause between two probes: short against everything that is waited for.
const PAUSE: Duration = Duration::from_millis(10);

/// The environment variable by which all deadlines are multiplied, for machines that are emulated.
const PATIENCE: &str = "FLOWGUARD_TEST_PATIENCE";

/// Probes until the probe succeeds, and returns its value. `what` completes "expected …".
///
/// # Errors
/// When `limit` has passed; the message contains the last probe's error as what was seen.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let patience = patience()?;
    // Where everything takes longer, looking does, too.
    let (limit, pause) = (limit * patience, PAUSE * patience);
    let deadline = Instant::now() + limit;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() >= deadline => {
                bail!("expected {what} within {limit:?}; seen last: {seen:#}")
            }
            Err(_) => thread::sleep(pause),
        }
    }
}

/// By how much this machine may be slower than one that is not emulated.
///
/// # Errors
/// When the environment says nonsense.
pub fn patience() -> Result<u32> {
    match env::var(PATIENCE) {
        Ok(factor) => factor
            .parse()
            .with_context(|| format!("{PATIENCE} is {factor:?} and should be a whole number")),
        Err(_) => Ok(1),
    }
}
