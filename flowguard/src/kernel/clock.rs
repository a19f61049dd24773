//! The kernel programs tell time by `CLOCK_BOOTTIME`; people by the wall clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};

/// Time since boot, suspended time included: the programs' `bpf_ktime_get_boot_ns`.
///
/// # Errors
///
/// Only on a kernel without `CLOCK_BOOTTIME` (before Linux 2.6.39).
pub fn since_boot() -> Result<Duration, nix::Error> {
    Ok(Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?))
}

/// One moment on both clocks, to translate others.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Since boot.
    pub boot: Duration,
    /// Wall clock.
    pub wall: Timestamp,
}

impl Moment {
    /// Now.
    ///
    /// # Errors
    ///
    /// See [`since_boot`].
    pub fn now() -> Result<Self, nix::Error> {
        Ok(Self {
            boot: since_boot()?,
            wall: Timestamp::now(),
        })
    }

    /// Nanoseconds since boot, as the programs count them.
    pub fn boot_ns(&self) -> u64 {
        u64::try_from(self.boot.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The wall clock at `boot_ns`, as it is set now.
    pub fn wall_at(&self, boot_ns: u64) -> Timestamp {
        let then = Duration::from_nanos(boot_ns);
        let shifted = if then >= self.boot {
            SignedDuration::try_from(then - self.boot).map(|d| self.wall.checked_add(d))
        } else {
            SignedDuration::try_from(self.boot - then).map(|d| self.wall.checked_sub(d))
        };
        shifted.ok().and_then(Result::ok).unwrap_or(self.wall)
    }
}
