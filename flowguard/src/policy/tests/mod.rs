//! The engine as a whole.

mod conditions;
mod evidence;
mod ladders;
mod properties;
mod reference;
mod shipped;

use std::time::Duration;

use super::*;
use crate::{
    control::api::ActionName,
    model::{ClassName, SourceName, Totals},
};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A condition with a minimum.
fn at_least(what: &str, within: Duration, limit: f64) -> Condition {
    Condition {
        what: what.parse().unwrap(),
        within,
        before: Duration::ZERO,
        bound: Bound::AtLeast(limit),
        of_at_least: 0,
    }
}

/// A condition with a maximum.
fn at_most(what: &str, within: Duration, limit: f64) -> Condition {
    Condition {
        bound: Bound::AtMost(limit),
        ..at_least(what, within, limit)
    }
}

/// A rule for everybody that blocks for an hour.
fn rule_when(name: &str, when: Vec<Condition>) -> Rule {
    Rule {
        name: name.to_owned(),
        sources: SourceGlobs::new(vec!["*".to_owned()]).unwrap(),
        groups: Vec::new(),
        packages: Vec::new(),
        class: ClassName::Direct,
        when,
        ladder: Ladder::single(Step::new(RuleAction::Block, secs(3600))),
    }
}

fn rule(name: &str, window: Duration, min_attempts: u64, min_destinations: u64) -> Rule {
    let minimums = [
        ("attempts", min_attempts),
        ("destinations", min_destinations),
    ];
    let written = minimums.into_iter().filter(|(_, limit)| *limit > 0);
    let when = written.map(|(what, limit)| at_least(what, window, limit as f64));
    rule_when(name, when.collect())
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

/// Offers counters of one source and tells what is found.
fn see(engine: &mut Engine, now: u64, totals: Totals) -> Option<Finding> {
    let alice = SourceName::user("alice");
    see_as(engine, now, sample(&alice, totals))
}

/// Offers a sample of one source and tells what is found.
fn see_as(engine: &mut Engine, now: u64, sample: Sample<'_>) -> Option<Finding> {
    let mut findings = engine.tick(secs(now), [sample]);
    assert!(findings.len() <= 1);
    findings.pop()
}

fn sample(name: &SourceName, totals: Totals) -> Sample<'_> {
    Sample {
        totals,
        ..State::default().sample(7, name)
    }
}
