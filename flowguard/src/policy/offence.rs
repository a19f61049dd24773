//! Who broke a rule how often, what follows from it, and when it is forgiven.

use std::time::Duration;

use super::{
    clock::{Tenths, tenths},
    finding::StepInfo,
    rule::{Ladder, RuleAction},
};

/// A moment, in tenths of a second since the engine's first tick; what an earlier engine saw lies
/// before it.
pub(super) type When = i64;

/// How a source stands with one rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Offence {
    /// The rule's place in the policy.
    pub(super) rule: usize,
    /// Offences that are not forgiven.
    pub(super) count: u32,
    /// Since when it has been good: when the last verdict ends, or the last offence was forgiven.
    pub(super) good_since: When,
    /// The counts at the last offence; none: they belong to an earlier engine.
    pub(super) spent: Option<Box<[u32]>>,
}

/// What a ladder asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sentence {
    pub(super) step: StepInfo,
    pub(super) action: Option<RuleAction>,
    pub(super) duration: Duration,
}

impl Offence {
    /// Forgives what good conduct has made up for; whether anything is left.
    pub(super) fn forgive(&mut self, ladder: &Ladder, now: Tenths) -> bool {
        let term = When::from(tenths(ladder.forgive).max(1));
        let terms = (When::from(now) - self.good_since) / term;
        if terms > 0 {
            self.count = u32::try_from(When::from(self.count) - terms).unwrap_or(0);
            self.good_since += terms * term;
        }
        self.count > 0
    }
}

/// What follows from one offence more than there are; `sooner` for a step further.
pub(super) fn sentence(ladder: &Ladder, offences: u32, sooner: bool) -> Sentence {
    let last = u32::try_from(ladder.steps.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let regular = offences.min(last);
    let step = if sooner { regular + 1 } else { regular }.min(last);
    let chosen = ladder.steps.get(step as usize);
    let (action, duration) =
        chosen.map_or((None, Duration::ZERO), |step| (step.action, step.duration));
    let repeated = i32::try_from(offences - regular).unwrap_or(i32::MAX);
    let longer = duration.as_secs_f64() * ladder.growth.powi(repeated);
    let longest = ladder.longest.max(duration);
    Sentence {
        step: StepInfo {
            step: step + 1,
            of: last + 1,
            offence: offences.saturating_add(1),
            sooner: step > regular,
        },
        action,
        duration: Duration::try_from_secs_f64(longer).map_or(longest, |longer| longer.min(longest)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::rule::Step;

    fn ladder() -> Ladder {
        let step = |action, minutes| Step {
            action,
            duration: Duration::from_mins(minutes),
        };
        Ladder {
            name: None,
            steps: vec![
                step(None, 0),
                step(Some(RuleAction::Block), 60),
                step(Some(RuleAction::Sever), 60),
            ],
            growth: 2.0,
            longest: Duration::from_hours(5),
            forgive: Duration::from_hours(24),
        }
    }

    #[test]
    fn steps_come_in_order_and_then_last_longer() {
        let sentences: Vec<_> = (0..6)
            .map(|offences| sentence(&ladder(), offences, false))
            .map(|s| (s.step.step, s.action, s.duration.as_secs() / 60))
            .collect();
        assert_eq!(
            sentences,
            [
                (1, None, 0),
                (2, Some(RuleAction::Block), 60),
                (3, Some(RuleAction::Sever), 60),
                (3, Some(RuleAction::Sever), 120),
                (3, Some(RuleAction::Sever), 240),
                (3, Some(RuleAction::Sever), 300),
            ]
        );
    }

    #[test]
    fn danger_skips_a_step_but_never_leads_off_the_ladder() {
        let first = sentence(&ladder(), 0, true);
        assert_eq!((first.step.step, first.step.sooner), (2, true));
        let last = sentence(&ladder(), 2, true);
        assert_eq!((last.step.step, last.step.sooner), (3, false));
    }

    #[test]
    fn good_conduct_is_forgiven_one_by_one() {
        let day = 864_000;
        let mut offence = Offence {
            rule: 0,
            count: 3,
            good_since: 0,
            spent: None,
        };
        for (now, count) in [
            (day - 1, 3),
            (day, 2),
            (day + 1, 2),
            (2 * day, 1),
            (9 * day, 0),
        ] {
            offence.forgive(&ladder(), now);
            assert_eq!(offence.count, count, "{now}");
        }
    }

    proptest! {
        #[test]
        fn no_ladder_is_too_long(offences: u32, growth in 1.0_f64..1e9, sooner: bool) {
            let ladder = Ladder { growth, ..ladder() };
            let sentence = sentence(&ladder, offences, sooner);
            prop_assert!(sentence.duration <= ladder.longest);
            prop_assert!(sentence.step.step <= sentence.step.of);
        }
    }
}
