//! Agreement with a naive reference that remembers everything.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// What one source does before a tick.
#[derive(Clone, Copy, Debug)]
struct Act {
    attempts: u64,
    destinations: u64,
    exempt: bool,
    under_verdict: bool,
}

fn steps() -> impl Strategy<Value = Vec<(u64, [Act; 3])>> {
    let step = (0_u64..12, 0_u64..6, 0_u8..20, 0_u8..20).prop_map(
        |(attempts, destinations, exempt, verdict)| Act {
            attempts,
            destinations: destinations.min(attempts),
            exempt: exempt == 0,
            under_verdict: verdict == 0,
        },
    );
    proptest::collection::vec((1_u64..40, [step.clone(), step.clone(), step]), 1..200)
}

/// Remembers everything: growth by source, with its time.
#[derive(Default)]
struct Reference {
    growth: HashMap<u32, Vec<(Duration, u64, u64)>>,
    unjudged: HashMap<u32, bool>,
}

impl Reference {
    fn note(&mut self, source: u32, now: Duration, step: Act) {
        let unjudged = step.exempt || step.under_verdict;
        let before = self.unjudged.insert(source, unjudged).unwrap_or(false);
        let growth = self.growth.entry(source).or_default();
        if unjudged || before {
            growth.clear();
        } else {
            growth.push((now, step.attempts, step.destinations));
        }
    }

    fn reaches(&self, source: u32, now: Duration, length: Duration, rule: &Rule) -> bool {
        let (attempts, destinations) = self
            .growth
            .get(&source)
            .into_iter()
            .flatten()
            .filter(|(at, _, _)| *at + length > now)
            .fold((0, 0), |sum, step| (sum.0 + step.1, sum.1 + step.2));
        rule.when.iter().all(|condition| {
            let value = if condition.what.name() == "attempts" {
                attempts
            } else {
                destinations
            };
            condition.bound == Bound::AtLeast(value as f64)
                || matches!(condition.bound, Bound::AtLeast(limit) if value as f64 >= limit)
        })
    }
}

proptest! {
    #[test]
    fn agrees_with_a_reference_that_remembers_everything(
        steps in steps(),
        window in 1_u64..600,
        (min_attempts, min_destinations) in (1_u64..200, 0_u64..100),
    ) {
        let rules = vec![rule("r", secs(window), min_attempts, min_destinations)];
        let names = ["a", "b", "c"].map(SourceName::user);
        let (mut engine, mut twin) = (running(rules.clone()), running(rules.clone()));
        let mut reference = Reference::default();
        let mut states = [State::default(); 3];
        let mut now = Duration::ZERO;
        for (pause, steps) in steps {
            now += secs(pause);
            for (source, (state, step)) in (0..).zip(states.iter_mut().zip(steps)) {
                state.attempts += step.attempts;
                state.destinations += step.destinations;
                state.exempt = step.exempt;
                state.under_verdict = step.under_verdict;
                reference.note(source, now, step);
            }
            let samples: Vec<_> = (0..)
                .zip(states.iter().zip(&names))
                .map(|(source, (state, name))| state.sample(source, name))
                .collect();
            let findings = engine.tick(now, samples.clone());
            prop_assert_eq!(&findings, &twin.tick(now, samples));
            for (source, state) in (0..).zip(states) {
                let found = findings.iter().filter(|finding| finding.source == source).count();
                prop_assert!(found <= 1);
                let found = found == 1;
                prop_assert!(!found || !(state.exempt || state.under_verdict));
                let whole = secs(window);
                // Never without both minimums; always once they are reached well within the window.
                prop_assert!(!found || reference.reaches(source, now, whole, &rules[0]));
                prop_assert!(found || !reference.reaches(source, now, whole - whole / 16 - Duration::from_millis(200), &rules[0]));
                if found {
                    // What led to it is spent.
                    reference.growth.remove(&source);
                }
            }
        }
        prop_assert_eq!(engine.tick(now + secs(window), []), []);
        prop_assert_eq!(engine.active(), 0);
    }

    #[test]
    fn any_counters_at_any_time_do_no_harm(
        samples in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), 0_u32..3), 0..60),
    ) {
        let mut engine = Engine::new(policy(vec![rule("r", secs(300), 1, 1)]));
        let alice = SourceName::user("alice");
        for (now, attempts, destinations, source) in samples {
            let findings = engine.tick(
                Duration::from_nanos(now),
                [State::of(attempts, destinations).sample(source, &alice)],
            );
            prop_assert!(findings.len() <= 1);
        }
    }
}
