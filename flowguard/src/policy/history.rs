//! How much a source did within a window, from cumulative counters, in bounded memory.

use std::{collections::VecDeque, time::Duration};

use super::measure::Counter;
use crate::model::Totals;

/// Parts a window is divided into: its history holds at most one slot more, and forgets
/// activity at most one part too early.
const PARTS: u32 = 64;

/// What rules are made of, by [`Counter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts([u64; Counter::ALL.len()]);

impl Counts {
    /// The value of a counter.
    pub(super) fn of(self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Growth since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        let mut growth = self;
        for (value, before) in growth.0.iter_mut().zip(earlier.0) {
            *value = value.saturating_sub(before);
        }
        growth
    }

    /// Whether a counter is behind `earlier`, which the kernel's counters never are.
    pub(super) fn went_backwards(self, earlier: Self) -> bool {
        self.0
            .iter()
            .zip(earlier.0)
            .any(|(now, before)| *now < before)
    }
}

impl From<Totals> for Counts {
    fn from(totals: Totals) -> Self {
        Self(Counter::ALL.map(|counter| counter.of(&totals)))
    }
}

/// Activity of up to a 64th of a window.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// When the first of it was seen.
    since: Duration,
    /// The counters after the last of it.
    counts: Counts,
}

/// The past of one source in one class, as far as one window reaches.
#[derive(Clone, Debug)]
pub(super) struct Window {
    length: Duration,
    /// The counters when the window opened.
    base: Counts,
    /// Growth since then, oldest first.
    slots: VecDeque<Slot>,
}

impl Window {
    pub(super) fn new(length: Duration, base: Counts) -> Self {
        Self {
            length,
            base,
            slots: VecDeque::new(),
        }
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }

    /// The same past for a window of another length. What both divide differently may be
    /// forgotten up to a part of each too early, and what this one does not hold is lost.
    pub(super) fn resized(&self, length: Duration) -> Self {
        let mut window = Self::new(length, self.base);
        for slot in &self.slots {
            window.record(slot.since, slot.counts);
        }
        window
    }

    /// Notes that the counters stand at `counts` since some moment between the last tick and now.
    pub(super) fn record(&mut self, now: Duration, counts: Counts) {
        match self.slots.back_mut() {
            // The slot keeps its beginning: all of it will be forgotten when its oldest part
            // leaves the window, never later.
            Some(slot) if now.saturating_sub(slot.since) < self.length / PARTS => {
                slot.counts = counts;
            }
            _ => self.slots.push_back(Slot { since: now, counts }),
        }
    }

    /// Forgets what the window has left behind.
    pub(super) fn advance(&mut self, now: Duration) {
        let Some(opened) = now.checked_sub(self.length) else {
            return;
        };
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.since <= opened) {
            self.base = slot.counts;
        }
    }

    /// Growth within the window: at least what a window shorter by a 64th would see, at most
    /// what really happened.
    pub(super) fn seen(&self) -> Counts {
        self.slots
            .back()
            .map_or_else(Counts::default, |last| last.counts.since(self.base))
    }

    /// Whether nothing happened within the window.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(attempts: u64) -> Counts {
        Totals {
            attempts,
            destinations: attempts / 2,
            ..Totals::default()
        }
        .into()
    }

    /// Growth within `length` before `now`, from all points.
    fn naive(points: &[(Duration, u64)], now: Duration, length: Duration) -> u64 {
        let value_at = |time| points.iter().rev().find(|(at, _)| *at <= time);
        let last = points.last().map_or(0, |(_, value)| *value);
        let base = now
            .checked_sub(length)
            .and_then(value_at)
            .map_or(0, |(_, value)| *value);
        last - base
    }

    #[test]
    fn a_burst_is_seen_for_a_whole_window() {
        let mut window = Window::new(Duration::from_secs(64), counts(100));
        window.record(Duration::from_secs(10), counts(130));
        window.advance(Duration::from_secs(73));
        assert_eq!(window.seen().of(Counter::Attempts), 30);
        window.advance(Duration::from_secs(74));
        assert_eq!(window.seen(), Counts::default());
        assert!(window.is_empty());
    }

    proptest! {
        #[test]
        fn agrees_with_all_points_but_for_a_64th_of_the_window(
            length in 1_u64..100_000,
            steps in proptest::collection::vec((1_u64..5_000, 0_u64..50), 1..400),
        ) {
            let length = Duration::from_millis(length);
            let mut window = Window::new(length, counts(0));
            let (mut now, mut total, mut points) = (Duration::ZERO, 0, Vec::new());
            for (step, growth) in steps {
                now += Duration::from_millis(step);
                total += growth;
                window.advance(now);
                if growth > 0 {
                    points.push((now, total));
                    window.record(now, counts(total));
                }
                let seen = window.seen().of(Counter::Attempts);
                prop_assert!(seen <= naive(&points, now, length));
                prop_assert!(seen >= naive(&points, now, length - length / PARTS));
                prop_assert!(window.slots.len() <= PARTS as usize + 1);
            }
        }

        #[test]
        fn resizing_never_invents_activity(
            old in 1_u64..100_000,
            new in 1_u64..100_000,
            steps in proptest::collection::vec((1_u64..5_000, 1_u64..50), 1..200),
        ) {
            let (old, new) = (Duration::from_millis(old), Duration::from_millis(new));
            let mut window = Window::new(old, counts(0));
            let (mut now, mut total, mut points) = (Duration::ZERO, 0, Vec::new());
            for (step, growth) in steps {
                now += Duration::from_millis(step);
                total += growth;
                points.push((now, total));
                window.advance(now);
                window.record(now, counts(total));
            }
            let mut resized = window.resized(new);
            resized.advance(now);
            prop_assert!(resized.seen().of(Counter::Attempts) <= naive(&points, now, new));
        }
    }
}
