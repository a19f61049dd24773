//! The engine's time: tenths of a second since its first tick, which fit in four bytes for
//! thirteen years.

use std::time::Duration;

/// Tenths of a second, since the first tick or as a length.
pub(super) type Tenths = u32;

/// A length, rounded down.
pub(super) fn tenths(duration: Duration) -> Tenths {
    Tenths::try_from(duration.as_millis() / 100).unwrap_or(Tenths::MAX)
}

/// The other way round.
pub(super) fn duration(tenths: Tenths) -> Duration {
    Duration::from_millis(u64::from(tenths) * 100)
}

/// Turns the driver's time into the engine's. Time that goes backwards stands still.
#[derive(Debug, Default)]
pub(super) struct Clock {
    start: Option<Duration>,
    now: Tenths,
}

impl Clock {
    /// The time of the tick in progress or last done.
    pub(super) const fn now(&self) -> Tenths {
        self.now
    }

    /// Goes on to a moment; whether it is the first.
    pub(super) fn advance(&mut self, to: Duration) -> bool {
        let first = self.start.is_none();
        let start = *self.start.get_or_insert(to);
        self.now = self.now.max(tenths(to.saturating_sub(start)));
        first
    }
}

/// A number of which half is left after some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Fading {
    value: f64,
    at: Tenths,
}

impl Fading {
    /// What is left of it.
    pub(super) fn at(self, now: Tenths, half_life: Tenths) -> f64 {
        let age = now.saturating_sub(self.at);
        if age == 0 || self.value == 0.0 {
            return self.value;
        }
        self.value * (-f64::from(age) / f64::from(half_life.max(1))).exp2()
    }

    /// Adds to what is left of it.
    pub(super) fn add(&mut self, more: f64, now: Tenths, half_life: Tenths) {
        self.set(self.at(now, half_life) + more, now);
    }

    /// Makes it `value` from now on.
    pub(super) fn set(&mut self, value: f64, now: Tenths) {
        *self = Self { value, at: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_starts_at_the_first_tick_and_never_goes_back() {
        let mut clock = Clock::default();
        assert!(clock.advance(Duration::from_secs(1_700_000_000)));
        assert!(!clock.advance(Duration::from_millis(1_700_000_001_250)));
        assert_eq!(clock.now(), 12);
        assert!(!clock.advance(Duration::ZERO));
        assert_eq!(clock.now(), 12);
        assert_eq!(duration(12), Duration::from_millis(1200));
    }

    #[test]
    fn half_is_left_after_a_half_life() {
        let mut number = Fading::default();
        assert_eq!(number.at(50, 10), 0.0);
        number.set(8.0, 100);
        assert_eq!(number.at(100, 10), 8.0);
        assert_eq!(number.at(120, 10), 2.0);
    }
}
