//! Whole-engine tests: what is evidence, what is not, and agreement with a naive reference.

use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    control::api::ActionName,
    model::{ClassName, SourceName, Totals},
};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn rule(name: &str, window: Duration, min_attempts: u64, min_destinations: u64) -> Rule {
    Rule {
        name: name.to_owned(),
        sources: SourceGlobs::new(vec!["*".to_owned()]).unwrap(),
        groups: Vec::new(),
        packages: Vec::new(),
        class: ClassName::Direct,
        when: [
            ("attempts", min_attempts),
            ("destinations", min_destinations),
        ]
        .into_iter()
        .filter(|(_, limit)| *limit > 0)
        .map(|(what, limit)| Condition {
            what: what.parse().unwrap(),
            within: window,
            before: Duration::ZERO,
            bound: Bound::AtLeast(limit as f64),
            of_at_least: 0,
        })
        .collect(),
        ladder: Ladder::single(Step::new(RuleAction::Block, secs(3600))),
    }
}

fn policy(rules: Vec<Rule>) -> Policy {
    Policy {
        rules,
        ..Policy::default()
    }
}

/// An engine past its first tick, so that what appears now is new.
fn running(rules: Vec<Rule>) -> Engine {
    let mut engine = Engine::new(policy(rules));
    assert_eq!(engine.tick(Duration::ZERO, []), []);
    engine
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    attempts: u64,
    destinations: u64,
    exempt: bool,
    under_verdict: bool,
}

impl State {
    fn of(attempts: u64, destinations: u64) -> Self {
        Self {
            attempts,
            destinations,
            ..Self::default()
        }
    }

    fn sample(self, source: u32, name: &SourceName) -> Sample<'_> {
        Sample {
            source,
            name,
            class: ClassName::Direct,
            totals: Totals {
                attempts: self.attempts,
                destinations: self.destinations,
                ..Totals::default()
            },
            exempt: self.exempt,
            known: Fields::ALL,
            verdict: self.under_verdict.then_some(Standing {
                action: ActionName::Block,
                by_hand: false,
            }),
            package: None,
            groups: &[],
        }
    }
}

/// Offers one source and tells which rule fits it.
fn offer(engine: &mut Engine, now: u64, state: State) -> Option<String> {
    let alice = SourceName::user("alice");
    let mut findings = engine.tick(secs(now), [state.sample(7, &alice)]);
    assert!(findings.len() <= 1);
    findings.pop().map(|finding| finding.rule)
}

#[test]
fn both_minimums_must_be_reached() {
    let mut engine = running(vec![rule("fan-out", secs(300), 30, 20)]);
    assert_eq!(offer(&mut engine, 1, State::of(1000, 19)), None);
    let mut engine = running(vec![rule("fan-out", secs(300), 30, 20)]);
    assert_eq!(offer(&mut engine, 1, State::of(29, 29)), None);
    let alice = SourceName::user("alice");
    let findings = engine.tick(secs(2), [State::of(30, 29).sample(7, &alice)]);
    let [finding] = findings.as_slice() else {
        panic!("{findings:?}")
    };
    assert_eq!((finding.source, &finding.name), (7, &alice));
    let told: Vec<_> = finding
        .observations
        .iter()
        .map(|o| (o.what.as_str(), o.value, o.limit, o.window_seconds))
        .collect();
    assert_eq!(
        told,
        [
            ("attempts", 30.0, 30.0, 300),
            ("destinations", 29.0, 20.0, 300)
        ]
    );
}

#[test]
fn rules_judge_their_class_and_sources_and_the_first_wins() {
    let mut submission = rule("submission", secs(300), 1, 0);
    submission.class = ClassName::Submission;
    let mut containers = rule("containers", secs(300), 1, 0);
    containers.sources = SourceGlobs::new(vec!["container:*".to_owned()]).unwrap();
    let rules = vec![
        submission,
        containers,
        rule("hundred", secs(300), 100, 0),
        rule("ten", secs(60), 10, 0),
        rule("one", secs(300), 1, 0),
    ];
    let mut engine = running(rules);
    assert_eq!(offer(&mut engine, 1, State::of(5, 0)), Some("one".into()));
    assert_eq!(offer(&mut engine, 2, State::of(10, 0)), Some("ten".into()));
    assert_eq!(
        offer(&mut engine, 3, State::of(100, 0)),
        Some("hundred".into())
    );
}

#[test]
fn counters_found_at_the_start_are_the_baseline() {
    let mut engine = Engine::new(policy(vec![rule("ten", secs(300), 10, 0)]));
    assert_eq!(offer(&mut engine, 1, State::of(1_000_000, 0)), None);
    assert_eq!(offer(&mut engine, 2, State::of(1_000_009, 0)), None);
    assert_eq!(
        offer(&mut engine, 3, State::of(1_000_010, 0)),
        Some("ten".into())
    );
}

#[test]
fn a_source_that_appears_later_did_it_all_since_the_last_tick() {
    let mut engine = running(vec![rule("ten", secs(300), 10, 0)]);
    assert_eq!(offer(&mut engine, 1, State::of(10, 0)), Some("ten".into()));
}

#[test]
fn after_a_verdict_the_evidence_starts_afresh() {
    let mut engine = running(vec![rule("ten", secs(300), 10, 0)]);
    assert!(offer(&mut engine, 1, State::of(10, 0)).is_some());
    let denied = State {
        under_verdict: true,
        ..State::of(500, 0)
    };
    assert_eq!(offer(&mut engine, 2, denied), None);
    assert_eq!(engine.active(), 0);
    // Part of the growth up to the first tick without the verdict was still refused.
    assert_eq!(offer(&mut engine, 3, State::of(600, 0)), None);
    assert_eq!(offer(&mut engine, 4, State::of(609, 0)), None);
    assert_eq!(offer(&mut engine, 5, State::of(610, 0)), Some("ten".into()));
}

#[test]
fn an_exemption_that_ends_leaves_no_evidence() {
    let mut engine = running(vec![rule("ten", secs(300), 10, 0)]);
    let exempt = State {
        exempt: true,
        ..State::of(500, 0)
    };
    assert_eq!(offer(&mut engine, 1, exempt), None);
    assert_eq!(offer(&mut engine, 2, State::of(505, 0)), None);
    assert_eq!(offer(&mut engine, 3, State::of(515, 0)), Some("ten".into()));
}

#[test]
fn counters_that_go_backwards_restart_the_history() {
    let mut engine = running(vec![rule("ten", secs(300), 10, 5)]);
    assert_eq!(offer(&mut engine, 1, State::of(9, 9)), None);
    assert_eq!(offer(&mut engine, 2, State::of(9, 3)), None);
    assert_eq!(offer(&mut engine, 3, State::of(2, 2)), None);
    assert_eq!(offer(&mut engine, 4, State::of(11, 11)), None);
    assert!(offer(&mut engine, 5, State::of(12, 12)).is_some());
}

#[test]
fn a_source_id_that_passes_to_another_name_brings_no_past() {
    let mut engine = running(vec![rule("ten", secs(300), 10, 0)]);
    assert_eq!(offer(&mut engine, 1, State::of(9, 0)), None);
    let bob = SourceName::user("bob");
    assert_eq!(engine.tick(secs(2), [State::of(15, 0).sample(7, &bob)]), []);
    assert_eq!(engine.tick(secs(3), [State::of(24, 0).sample(7, &bob)]), []);
}

#[test]
fn a_source_that_returns_after_a_silence_is_not_taken_for_new() {
    let mut engine = running(vec![rule("ten", secs(300), 10, 0)]);
    assert_eq!(offer(&mut engine, 1, State::of(9, 0)), None);
    assert_eq!(engine.active(), 1);
    assert_eq!(engine.tick(secs(301), []), []);
    assert_eq!(engine.active(), 0);
    assert_eq!(offer(&mut engine, 10_000, State::of(18, 0)), None);
}

#[test]
fn of_two_samples_for_one_source_the_first_counts() {
    let mut engine = running(vec![rule("ten", secs(300), 10, 0)]);
    let alice = SourceName::user("alice");
    let twice = [State::of(10, 0), State::of(5, 0)].map(|state| state.sample(7, &alice));
    assert_eq!(engine.tick(secs(1), twice).len(), 1);
}

#[test]
fn new_rules_see_what_the_old_ones_remember() {
    let mut engine = running(vec![rule("old", secs(600), 1000, 0)]);
    assert_eq!(offer(&mut engine, 1, State::of(40, 0)), None);
    assert_eq!(offer(&mut engine, 400, State::of(50, 0)), None);
    engine.set_policy(policy(vec![rule("short", secs(300), 11, 0)]));
    assert_eq!(offer(&mut engine, 401, State::of(50, 0)), None);
    engine.set_policy(policy(vec![rule("shorter", secs(60), 10, 0)]));
    assert_eq!(
        offer(&mut engine, 402, State::of(51, 0)),
        Some("shorter".into())
    );
    engine.set_policy(policy(vec![rule("long", secs(3600), 12, 0)]));
    assert_eq!(offer(&mut engine, 403, State::of(51, 0)), None);
    assert_eq!(
        offer(&mut engine, 900, State::of(52, 0)),
        Some("long".into())
    );
    engine.set_policy(policy(Vec::new()));
    assert_eq!(engine.active(), 0);
    assert_eq!(offer(&mut engine, 901, State::of(5000, 0)), None);
    assert_eq!(engine.active(), 0);
}

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
