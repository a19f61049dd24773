//! The sequential probability ratio test (A. Wald, 1945), as SPOT (Duan et al., 2012) puts it to
//! spam: every outcome of a delivery makes it likelier that the source is good or that it is bad,
//! until one of the two is likely enough.
//!
//! The test assumes that outcomes do not depend on each other. A form that tries the same dead
//! server for ever would refute that: so an outcome counts only against a first contact that has
//! had none, and, if a server's reply brought it, against an accepted connection that has had none.

use super::{
    clock::{Fading, Tenths, tenths},
    finding::Likelihood,
    settings::SprtSettings,
};

/// A first contact waits so long for its outcome, and at most twice as long: a connection that
/// nobody answers is given up after at most 15 minutes (`kernel.unanswered_after`).
const PATIENCE: Tenths = 15 * 60 * 10;

/// The test's figures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test {
    /// What a good outcome adds: below zero.
    good: f64,
    /// What a bad one adds.
    bad: f64,
    /// From here on the source is called bad.
    upper: f64,
    /// Down from here it is called good, and the test begins afresh.
    lower: f64,
    half_life: Tenths,
}

impl Test {
    pub(super) fn new(settings: &SprtSettings) -> Self {
        let SprtSettings {
            theta0,
            theta1,
            alpha,
            beta,
            half_life,
        } = *settings;
        Self {
            good: ((1.0 - theta1) / (1.0 - theta0)).ln(),
            bad: (theta1 / theta0).ln(),
            upper: ((1.0 - beta) / alpha).ln(),
            lower: (beta / (1.0 - alpha)).ln(),
            half_life: tenths(half_life),
        }
    }
}

/// What became of a source's connections since the last tick.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcomes {
    /// First contacts.
    pub(super) contacts: u32,
    /// Connections accepted; none: nobody can know.
    pub(super) accepted: Option<u32>,
    /// Messages that a server was ready to take, and connections that turned to TLS.
    pub(super) good: u32,
    /// Replies that said no.
    pub(super) rejected: u32,
    /// Attempts refused or never answered.
    pub(super) failed: u32,
}

/// Things that wait for an outcome, and are no longer waited for after a while.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    young: u32,
    old: u32,
}

impl Waiting {
    fn take(&mut self, wanted: u32) -> u32 {
        let old = wanted.min(self.old);
        let young = (wanted - old).min(self.young);
        self.old -= old;
        self.young -= young;
        old + young
    }

    const fn count(self) -> u32 {
        self.young.saturating_add(self.old)
    }
}

/// How far the test of one source in one class has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sprt {
    log_ratio: Fading,
    contacts: Waiting,
    accepted: Waiting,
    /// When what was young became old.
    aged: Tenths,
    good: u32,
    bad: u32,
}

impl Sprt {
    /// Weighs outcomes.
    pub(super) fn weigh(&mut self, test: &Test, now: Tenths, outcomes: Outcomes) {
        self.grow_old(now);
        self.contacts.young = self.contacts.young.saturating_add(outcomes.contacts);
        if let Some(accepted) = outcomes.accepted {
            self.accepted.young = self.accepted.young.saturating_add(accepted);
        }
        let mut answered = |count: u32| {
            let mut count = count.min(self.contacts.count());
            if outcomes.accepted.is_some() {
                count = self.accepted.take(count);
            }
            self.contacts.take(count)
        };
        let good = answered(outcomes.good);
        let bad = answered(outcomes.rejected) + self.contacts.take(outcomes.failed);
        if good == 0 && bad == 0 {
            return;
        }
        let sum = self.log_ratio.at(now, test.half_life)
            + f64::from(good) * test.good
            + f64::from(bad) * test.bad;
        if sum <= test.lower {
            self.begin_afresh(now);
        } else {
            // Once it is decided, more of the same says nothing new and must not outweigh what
            // comes after.
            self.log_ratio.set(sum.min(2.0 * test.upper), now);
            self.good = self.good.saturating_add(good);
            self.bad = self.bad.saturating_add(bad);
        }
    }

    fn grow_old(&mut self, now: Tenths) {
        let age = now.saturating_sub(self.aged);
        if age < PATIENCE {
            return;
        }
        for waiting in [&mut self.contacts, &mut self.accepted] {
            let young = std::mem::take(&mut waiting.young);
            waiting.old = if age < 2 * PATIENCE { young } else { 0 };
        }
        self.aged = now;
    }

    /// Forgets all outcomes; first contacts go on waiting for theirs.
    pub(super) fn begin_afresh(&mut self, now: Tenths) {
        self.log_ratio.set(0.0, now);
        (self.good, self.bad) = (0, 0);
    }

    /// Whether the source is called bad.
    pub(super) fn is_bad(&self, test: &Test, now: Tenths) -> bool {
        self.log_ratio.at(now, test.half_life) >= test.upper
    }

    /// For the record; none: no outcome was weighed.
    pub(super) fn likelihood(&self, test: &Test, now: Tenths) -> Option<Likelihood> {
        (self.good > 0 || self.bad > 0).then(|| Likelihood {
            log_ratio: self.log_ratio.at(now, test.half_life),
            limit: test.upper,
            good: self.good,
            bad: self.bad,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn test(alpha: f64) -> Test {
        Test::new(&SprtSettings {
            theta0: 0.2,
            theta1: 0.9,
            alpha,
            beta: 0.01,
            half_life: Duration::from_hours(1),
        })
    }

    const BAD: Outcomes = Outcomes {
        contacts: 1,
        accepted: Some(0),
        good: 0,
        rejected: 0,
        failed: 1,
    };
    const GOOD: Outcomes = Outcomes {
        contacts: 1,
        accepted: Some(1),
        good: 1,
        rejected: 0,
        failed: 0,
    };

    /// The figures of docs/policy.md: how many bad outcomes in a row, how many on average by
    /// Wald's formula, which leaves out by how much the last outcome overshoots the limit.
    const FIGURES: [(f64, u32, f64); 3] = [(0.01, 4, 3.9), (0.001, 5, 5.9), (0.0001, 7, 7.9)];

    #[test]
    fn so_many_bad_outcomes_in_a_row_decide() {
        for (alpha, in_a_row, _) in FIGURES {
            let test = test(alpha);
            let mut sprt = Sprt::default();
            let needed = (1..100).find(|_| {
                sprt.weigh(&test, 0, BAD);
                sprt.is_bad(&test, 0)
            });
            assert_eq!(needed, Some(in_a_row), "{alpha}");
        }
    }

    /// Outcomes until the test decides, and whether it decides for bad. Restarts are not followed.
    fn run(test: &Test, random: &mut fastrand::Rng, bad: f64) -> (u32, bool) {
        let mut sprt = Sprt::default();
        let mut outcomes = 0;
        loop {
            outcomes += 1;
            let outcome = if random.f64() < bad { BAD } else { GOOD };
            sprt.weigh(test, 0, outcome);
            if sprt.is_bad(test, 0) {
                return (outcomes, true);
            }
            if sprt.likelihood(test, 0).is_none() {
                return (outcomes, false);
            }
        }
    }

    #[test]
    fn the_test_is_as_quick_and_as_right_as_it_promises() {
        const RUNS: u32 = 40_000;
        let mut random = fastrand::Rng::with_seed(4);
        for (alpha, _, mean) in FIGURES {
            let test = test(alpha);
            let step = 0.9 * test.bad + 0.1 * test.good;
            let by_wald = (0.99 * test.upper + 0.01 * test.lower) / step;
            assert!((by_wald - mean).abs() < 0.05, "{by_wald}");
            let (mut total, mut missed) = (0, 0);
            for _ in 0..RUNS {
                let (outcomes, found) = run(&test, &mut random, 0.9);
                total += outcomes;
                missed += u32::from(!found);
            }
            let measured = f64::from(total) / f64::from(RUNS);
            // The last outcome overshoots by less than one bad outcome.
            let most = by_wald + test.bad / step;
            assert!(
                (by_wald - 0.1..most + 0.1).contains(&measured),
                "{alpha}: {measured} is not between {by_wald} and {most}"
            );
            assert!(f64::from(missed) / f64::from(RUNS) < 0.01, "{missed}");
            let accused = (0..RUNS).filter(|_| run(&test, &mut random, 0.2).1).count();
            // Three standard deviations of room for chance.
            let expected = alpha * f64::from(RUNS);
            assert!(
                (accused as f64) < expected + 3.0 * expected.sqrt(),
                "{accused}"
            );
        }
    }

    #[test]
    fn retries_at_one_dead_server_count_once() {
        let test = test(0.01);
        let mut sprt = Sprt::default();
        sprt.weigh(&test, 0, BAD);
        for minute in 1..600 {
            let retry = Outcomes { contacts: 0, ..BAD };
            sprt.weigh(&test, minute * 600, retry);
        }
        let known = sprt.likelihood(&test, 360_000).unwrap();
        assert_eq!((known.good, known.bad), (0, 1));
        // Nor does the first contact of every new hour add up.
        let mut sprt = Sprt::default();
        for hour in 0..1000 {
            sprt.weigh(&test, hour * 36_000, BAD);
            assert!(!sprt.is_bad(&test, hour * 36_000));
        }
    }

    #[test]
    fn a_connection_has_one_outcome_however_many_recipients_it_is_refused() {
        let test = test(0.01);
        let mut sprt = Sprt::default();
        let outcomes = Outcomes {
            contacts: 10,
            accepted: Some(1),
            rejected: 10,
            ..Outcomes::default()
        };
        sprt.weigh(&test, 0, outcomes);
        assert_eq!(sprt.likelihood(&test, 0).unwrap().bad, 1);
        // Where nobody can know what was accepted, there are at least no more than contacts.
        let mut sprt = Sprt::default();
        let outcomes = Outcomes {
            accepted: None,
            rejected: 99,
            ..outcomes
        };
        sprt.weigh(&test, 0, outcomes);
        assert_eq!(sprt.likelihood(&test, 0).unwrap().bad, 10);
    }

    #[test]
    fn a_contact_waits_for_its_outcome_but_not_for_ever() {
        let test = test(0.01);
        let contact = Outcomes { failed: 0, ..BAD };
        let failure = Outcomes { contacts: 0, ..BAD };
        for (after, counts) in [(0, true), (PATIENCE, true), (2 * PATIENCE, false)] {
            let mut sprt = Sprt::default();
            sprt.weigh(&test, 0, contact);
            sprt.weigh(&test, after, failure);
            assert_eq!(sprt.likelihood(&test, after).is_some(), counts, "{after}");
        }
    }

    #[test]
    fn good_outcomes_clear_a_source_and_the_test_begins_afresh() {
        let test = test(0.01);
        let mut sprt = Sprt::default();
        sprt.weigh(&test, 0, BAD);
        for _ in 0..3 {
            sprt.weigh(&test, 0, GOOD);
        }
        assert_eq!(sprt.likelihood(&test, 0), None);
        // Three in a row are enough.
        for _ in 0..99 {
            sprt.weigh(&test, 0, GOOD);
        }
        for _ in 0..4 {
            sprt.weigh(&test, 0, BAD);
        }
        assert!(sprt.is_bad(&test, 0));
    }
}
