//! Waiting with a deadline instead of sleeping and hoping.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// How long anything that should happen "at once" may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(15);

/// Pause between two probes: short against everything that is waited for.
const PAUSE: Duration = Duration::from_millis(10);

/// Probes until the probe succeeds, and returns its value. `what` completes "expected …".
///
/// # Errors
/// When `limit` has passed; the message contains the last probe's error as what was seen.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() >= deadline => {
                bail!("expected {what} within {limit:?}; seen last: {seen:#}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
