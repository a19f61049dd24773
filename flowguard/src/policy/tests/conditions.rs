//! Conditions: ratios, several windows, what was before, what is not known, whom a rule concerns.

use super::*;
use crate::model::Replies;

const HOUR: Duration = secs(3600);
const DAY: Duration = secs(86_400);

fn failing(attempts: u64, refused: u64, established: u64) -> Totals {
    Totals {
        attempts,
        destinations: attempts,
        refused,
        established,
        ..Totals::default()
    }
}

#[test]
fn a_ratio_needs_its_minimum() {
    let ratio = Condition {
        of_at_least: 10,
        ..at_least("failed-ratio", secs(600), 0.5)
    };
    let mut engine = running(vec![rule_when("failing", vec![ratio])]);
    // Nine with an outcome are too few, however bad.
    assert_eq!(see(&mut engine, 1, failing(20, 9, 0)), None);
    assert_eq!(see(&mut engine, 2, failing(30, 9, 10)), None);
    let found = see(&mut engine, 3, failing(40, 13, 12)).unwrap();
    let [seen] = found.observations.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!((seen.value, seen.limit, seen.of), (0.52, 0.5, Some(25)));
}

#[test]
fn several_windows_must_agree() {
    let when = vec![
        at_least("destinations", secs(60), 5.0),
        at_least("refused", HOUR, 3.0),
    ];
    let mut engine = running(vec![rule_when("both", when)]);
    assert_eq!(see(&mut engine, 1, failing(3, 3, 0)), None);
    assert_eq!(see(&mut engine, 100, failing(7, 3, 0)), None);
    assert!(see(&mut engine, 101, failing(8, 3, 0)).is_some());
    // The refusals have left the hour.
    let mut engine = running(engine.policy().rules.clone());
    assert_eq!(see(&mut engine, 1, failing(3, 3, 0)), None);
    assert_eq!(see(&mut engine, 3700, failing(20, 3, 0)), None);
}

#[test]
fn what_was_before_is_looked_at_by_itself() {
    let quiet_before = Condition {
        before: HOUR,
        ..at_most("destinations", DAY, 2.0)
    };
    let when = vec![at_least("destinations", HOUR, 10.0), quiet_before];
    let novel = || {
        let mut engine = running(vec![rule_when("novel", when.clone())]);
        assert_eq!(see(&mut engine, 1, failing(2, 0, 2)), None);
        engine
    };
    let mut engine = novel();
    // Too early: nobody knows what was yesterday.
    assert_eq!(see(&mut engine, 80_000, failing(20, 0, 20)), None);
    let mut engine = novel();
    let found = see(&mut engine, 90_000, failing(20, 0, 20)).unwrap();
    let before = &found.observations[1];
    assert_eq!((before.value, before.before_seconds), (0.0, 3600));
    // Somebody who does this every day.
    let mut engine = novel();
    assert_eq!(see(&mut engine, 80_000, failing(11, 0, 11)), None);
    assert_eq!(see(&mut engine, 90_000, failing(30, 0, 30)), None);
}

#[test]
fn what_nobody_could_see_is_not_zero() {
    let when = vec![
        at_least("destinations", HOUR, 5.0),
        at_most("messages", HOUR, 0.0),
    ];
    let alice = SourceName::user("alice");
    let offer = |known| {
        let mut engine = running(vec![rule_when("silent", when.clone())]);
        assert_eq!(see(&mut engine, 1, failing(1, 0, 1)), None);
        let sample = Sample {
            known,
            ..sample(&alice, failing(20, 0, 20))
        };
        see_as(&mut engine, 4000, sample).is_some()
    };
    assert!(offer(Fields::ALL));
    assert!(!offer(Fields::CONNECTIONS));
    assert!(!offer(Fields::ALL.without(Counter::Messages)));
}

#[test]
fn a_session_without_tls_weighs_as_much_as_one_with_it() {
    let without = Condition {
        of_at_least: 2,
        ..at_most("tls-ratio", HOUR, 0.5)
    };
    let mut engine = running(vec![rule_when("without", vec![without])]);
    // One server that refuses twenty recipients, and two that know TLS.
    let newsletter = Totals {
        replies: Replies {
            never: 20,
            ..Replies::default()
        },
        messages: 20,
        encrypted: 2,
        plain: 1,
        ..failing(3, 0, 3)
    };
    assert_eq!(see(&mut engine, 4000, newsletter), None);
    let another = Totals {
        plain: 2,
        ..newsletter
    };
    let found = see(&mut engine, 4001, another).unwrap();
    let seen = &found.observations[0];
    assert_eq!((seen.value, seen.of), (0.5, Some(4)));
}

#[test]
fn every_measure_can_be_met() {
    let totals = Totals {
        attempts: 2000,
        denied: 1000,
        would_deny: 1000,
        destinations: 1000,
        retransmits: 1000,
        established: 1000,
        refused: 1000,
        timed_out: 1000,
        redirected: 1000,
        bytes: 10_000_000,
        replies: Replies {
            ok: 1000,
            more: 1000,
            later: 1000,
            never: 1000,
        },
        messages: 1000,
        encrypted: 1000,
        plain: 1000,
        open_ms: 1_000_000,
    };
    for measure in Measure::all() {
        let condition = Condition {
            of_at_least: u64::from(measure.is_ratio()),
            ..at_least(measure.name(), secs(600), 0.001)
        };
        let mut engine = running(vec![rule_when("r", vec![condition])]);
        engine.tick(
            secs(1),
            [State::of(0, 0).sample(7, &SourceName::user("alice"))],
        );
        let replies = [
            "554 listed at spamhaus",
            "421 unusual rate",
            "554 poor reputation",
            "550 spam detected",
            "450 greylisted",
            "550 user unknown",
        ];
        for (reply, server) in replies.into_iter().zip(1..) {
            engine.hear(heard(reply, &format!("192.0.2.{server}")));
        }
        let counted = if measure.is_likelihood() {
            // As many good outcomes as bad ones would clear it.
            Totals {
                messages: 0,
                encrypted: 0,
                ..totals
            }
        } else {
            totals
        };
        let found = see(&mut engine, 2, counted);
        assert!(found.is_some(), "{measure:?}");
    }
}

fn heard<'a>(text: &'a str, server: &str) -> Heard<'a> {
    Heard {
        source: 7,
        class: ClassName::Direct,
        server: server.parse().unwrap(),
        text,
        sent_from: None,
    }
}

#[test]
fn a_server_that_repeats_itself_is_one_accuser() {
    let words = at_least("provider-words", HOUR, 3.0);
    let mut engine = running(vec![rule_when("accused", vec![words])]);
    let mut attempts = 0;
    let mut say = |engine: &mut Engine, now, server: &str| {
        attempts += 1;
        engine.hear(heard("554 blocked using zen.spamhaus.org", server));
        see(
            engine,
            now,
            State::of(attempts, 1)
                .sample(7, &SourceName::user("a"))
                .totals,
        )
    };
    for now in 1..50 {
        assert_eq!(say(&mut engine, now, "192.0.2.1"), None);
    }
    assert_eq!(say(&mut engine, 50, "192.0.2.2"), None);
    let found = say(&mut engine, 51, "192.0.2.3").unwrap();
    assert_eq!(found.observations[0].value, 3.0);
}

#[test]
fn groups_and_packages_narrow_a_rule_down() {
    let one = vec![at_least("attempts", HOUR, 10.0)];
    let students = Rule {
        groups: vec!["students".to_owned()],
        ..rule_when("students", one.clone())
    };
    let cheap = Rule {
        packages: vec!["cheap".to_owned()],
        ..rule_when("cheap", one)
    };
    let policy = Policy {
        rules: vec![students, cheap],
        packages: vec![
            Package {
                name: "cheap".to_owned(),
                sources: Some(SourceGlobs::new(vec!["user:c-*".to_owned()]).unwrap()),
                factor: 1.0,
            },
            Package {
                name: "gold".to_owned(),
                sources: None,
                factor: 2.0,
            },
        ],
        ..Policy::default()
    };
    let groups = ["students".to_owned()];
    for (name, package, groups, attempts, expected) in [
        ("alice", None, &[][..], 10, None),
        ("alice", None, &groups[..], 10, Some("students")),
        ("alice", Some("cheap"), &[][..], 10, Some("cheap")),
        ("c-alice", None, &[][..], 10, Some("cheap")),
        // What the panel says goes before what the name says.
        ("c-alice", Some("gold"), &[][..], 10, None),
        ("alice", Some("gold"), &groups[..], 19, None),
        ("alice", Some("gold"), &groups[..], 20, Some("students")),
    ] {
        let mut engine = Engine::new(policy.clone());
        engine.tick(Duration::ZERO, []);
        let name = SourceName::user(name);
        let sample = Sample {
            package,
            groups,
            ..State::of(attempts, 0).sample(7, &name)
        };
        let found = see_as(&mut engine, 1, sample).map(|finding| finding.rule);
        assert_eq!(found.as_deref(), expected, "{name} {package:?} {attempts}");
    }
}

#[test]
fn a_package_that_becomes_known_counts_at_once() {
    let mut policy = policy(vec![rule("ten", HOUR, 10, 0)]);
    policy.packages.push(Package {
        name: "gold".to_owned(),
        sources: None,
        factor: 2.0,
    });
    let mut engine = Engine::new(policy);
    engine.tick(Duration::ZERO, []);
    let alice = SourceName::user("alice");
    let gold = |attempts| Sample {
        package: Some("gold"),
        ..State::of(attempts, 0).sample(7, &alice)
    };
    assert_eq!(see(&mut engine, 1, gold(9).totals), None);
    assert_eq!(see_as(&mut engine, 2, gold(12)), None);
    let found = see_as(&mut engine, 3, gold(20)).unwrap();
    assert_eq!(found.observations[0].limit, 20.0);
}

#[test]
fn an_override_holds_until_its_end() {
    let over = |factor, skip: &[&str], until: Option<&str>| Override {
        name: "o".to_owned(),
        sources: SourceGlobs::new(vec!["user:alice".to_owned()]).unwrap(),
        factor,
        skip: skip.iter().map(|&rule| rule.to_owned()).collect(),
        until: until.map(|until| until.parse().unwrap()),
    };
    let with = |over| {
        let mut policy = policy(vec![rule("ten", HOUR, 10, 0)]);
        policy.overrides.push(over);
        let mut engine = Engine::new(policy);
        engine.tick(Duration::ZERO, []);
        engine
    };
    let mut engine = with(over(3.0, &[], None));
    assert_eq!(offer(&mut engine, 1, State::of(29, 0)), None);
    assert!(offer(&mut engine, 2, State::of(30, 0)).is_some());
    let end = "2026-12-27T00:00:00Z";
    let mut engine = with(over(1.0, &["ten"], Some(end)));
    engine.end_overrides("2026-12-26T23:59:59Z".parse().unwrap());
    assert_eq!(offer(&mut engine, 1, State::of(500, 0)), None);
    engine.end_overrides(end.parse().unwrap());
    assert_eq!(engine.policy().overrides, []);
    assert!(offer(&mut engine, 2, State::of(501, 0)).is_some());
}
