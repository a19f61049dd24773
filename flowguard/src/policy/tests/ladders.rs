//! Ladders, the sequential test and risk, in the engine.

use std::net::IpAddr;

use flowguard_common::verdict::Rate;

use super::*;

const HOUR: Duration = secs(3600);

fn steps() -> Ladder {
    let slowed = RuleAction::NewDestinations(Rate {
        burst: 1,
        interval_ns: 1,
    });
    Ladder {
        name: Some("l".to_owned()),
        steps: vec![
            Step {
                action: None,
                duration: Duration::ZERO,
            },
            Step::new(slowed, HOUR),
            Step::new(RuleAction::Block, HOUR),
        ],
        growth: 2.0,
        longest: secs(7 * 86_400),
        forgive: secs(86_400),
    }
}

fn climbing(when: Vec<Condition>) -> Rule {
    Rule {
        ladder: steps(),
        ..rule_when("climb", when)
    }
}

fn ten() -> Vec<Condition> {
    vec![at_least("attempts", HOUR, 10.0)]
}

/// Offers attempts, some of them denied, under a verdict.
fn under(
    engine: &mut Engine,
    now: u64,
    (attempts, denied): (u64, u64),
    action: Option<ActionName>,
) -> Option<(u32, u32, Option<ActionName>)> {
    let alice = SourceName::user("alice");
    let sample = Sample {
        totals: Totals {
            attempts,
            denied,
            destinations: attempts,
            ..Totals::default()
        },
        verdict: action.map(|action| Standing {
            action,
            by_hand: false,
        }),
        ..State::default().sample(7, &alice)
    };
    let found = see_as(engine, now, sample)?;
    Some((
        found.step.step,
        found.step.offence,
        found.action.map(RuleAction::name),
    ))
}

#[test]
fn new_evidence_climbs_under_a_mild_verdict_and_nothing_else_does() {
    use ActionName::{Block, NewDestinations};
    let mut engine = running(vec![climbing(ten())]);
    assert_eq!(under(&mut engine, 1, (10, 0), None), Some((1, 1, None)));
    // The same evidence does not count twice.
    assert_eq!(under(&mut engine, 2, (19, 0), None), None);
    assert_eq!(
        under(&mut engine, 3, (20, 0), None),
        Some((2, 2, Some(NewDestinations)))
    );
    // What the verdict refuses is no evidence.
    let mild = Some(NewDestinations);
    assert_eq!(under(&mut engine, 4, (129, 100), mild), None);
    assert_eq!(
        under(&mut engine, 5, (130, 100), mild),
        Some((3, 3, Some(Block)))
    );
    // Under a block there is nothing to weigh, and its end is a new beginning.
    assert_eq!(under(&mut engine, 6, (999, 900), Some(Block)), None);
    assert_eq!(under(&mut engine, 7, (1099, 900), None), None);
    assert_eq!(under(&mut engine, 8, (1108, 900), None), None);
    assert_eq!(
        under(&mut engine, 9, (1109, 900), None),
        Some((3, 4, Some(Block)))
    );
}

#[test]
fn offences_last_longer_and_are_forgiven() {
    let mut engine = running(vec![Rule {
        ladder: Ladder {
            steps: vec![Step::new(RuleAction::Block, HOUR)],
            ..steps()
        },
        ..rule_when("r", ten())
    }]);
    let mut attempts = 0;
    let mut offend = |engine: &mut Engine, now| {
        attempts += 10;
        let found = offer_whole(engine, now, attempts).unwrap();
        (found.step.offence, found.duration.as_secs() / 3600)
    };
    assert_eq!(offend(&mut engine, 1), (1, 1));
    assert_eq!(offend(&mut engine, 4_000), (2, 2));
    assert_eq!(offend(&mut engine, 12_000), (3, 4));
    // The last verdict ended at 26,400; two days later two are forgiven.
    assert_eq!(offend(&mut engine, 26_400 + 2 * 86_400), (2, 2));
    assert_eq!(offend(&mut engine, 99 * 86_400), (1, 1));
}

fn offer_whole(engine: &mut Engine, now: u64, attempts: u64) -> Option<Finding> {
    see(
        engine,
        now,
        State::of(attempts, 0)
            .sample(7, &SourceName::user("a"))
            .totals,
    )
}

#[test]
fn the_gravest_action_is_found_and_only_what_is_graver_than_the_verdict() {
    let limit = RuleAction::Limit(Rate {
        burst: 1,
        interval_ns: 1,
    });
    let mild = Rule {
        ladder: Ladder::single(Step::new(limit, HOUR)),
        ..rule_when("mild", ten())
    };
    let grave = rule_when("grave", vec![at_least("attempts", HOUR, 20.0)]);
    let mut engine = running(vec![mild, grave]);
    let under_limit = Some(ActionName::Limit);
    assert_eq!(
        under(&mut engine, 1, (10, 0), None),
        Some((1, 1, under_limit))
    );
    assert_eq!(under(&mut engine, 2, (19, 0), under_limit), None);
    assert_eq!(
        under(&mut engine, 3, (21, 0), under_limit),
        Some((1, 1, Some(ActionName::Block)))
    );
}

#[test]
fn the_sequential_test_decides_and_says_so() {
    let when = vec![
        at_least("destinations", HOUR, 5.0),
        Condition {
            within: Duration::ZERO,
            ..at_least("likelihood", HOUR, 1.0)
        },
    ];
    let mut engine = running(vec![climbing(when)]);
    let failed = |contacts, refused| Totals {
        attempts: contacts,
        destinations: contacts,
        refused,
        ..Totals::default()
    };
    // Seven bad outcomes in a row at the default figures.
    assert_eq!(see(&mut engine, 1, failed(6, 6)), None);
    let found = see(&mut engine, 2, failed(7, 7)).unwrap();
    let likelihood = found.likelihood.unwrap();
    assert_eq!((likelihood.good, likelihood.bad), (0, 7));
    assert!(likelihood.log_ratio >= likelihood.limit);
    let seen: Vec<_> = found.observations.iter().map(|o| o.what.as_str()).collect();
    assert_eq!(seen, ["destinations"]);
    // It begins afresh.
    assert_eq!(see(&mut engine, 3, failed(13, 13)), None);
    assert_eq!(see(&mut engine, 4, failed(14, 14)).unwrap().step.offence, 2);
}

#[test]
fn without_replies_an_accepted_connection_is_a_good_outcome() {
    let when = vec![Condition {
        within: Duration::ZERO,
        ..at_least("likelihood", HOUR, 1.0)
    }];
    let alice = SourceName::user("alice");
    // Every other one fails, as at a small mail server.
    let mut engine = running(vec![climbing(when)]);
    for n in 1..100 {
        let totals = Totals {
            attempts: 2 * n,
            destinations: 2 * n,
            established: n,
            refused: n,
            ..Totals::default()
        };
        let sample = Sample {
            known: Fields::CONNECTIONS,
            ..sample(&alice, totals)
        };
        assert_eq!(see_as(&mut engine, n, sample), None);
    }
}

#[test]
fn greylisting_is_no_bad_outcome() {
    let when = vec![Condition {
        within: Duration::ZERO,
        ..at_least("likelihood", HOUR, 1.0)
    }];
    for (text, expected) in [("450 4.2.0 Greylisted", false), ("450 4.7.1 No", true)] {
        let mut engine = running(vec![climbing(when.clone())]);
        let mut found = false;
        for n in 1..30 {
            engine.hear(Heard {
                source: 7,
                class: ClassName::Direct,
                server: IpAddr::from([192, 0, 2, n]),
                text,
                sent_from: None,
            });
            let n = u64::from(n);
            let mut totals = Totals {
                attempts: n,
                destinations: n,
                established: n,
                ..Totals::default()
            };
            totals.replies.later = n;
            found |= see(&mut engine, n, totals).is_some();
        }
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn offences_survive_a_restart() {
    let policy = policy(vec![climbing(ten())]);
    let mut engine = Engine::new(policy.clone());
    engine.tick(secs(500), []);
    assert!(offer_whole(&mut engine, 501, 10).is_some());
    assert!(offer_whole(&mut engine, 502, 20).is_some());
    engine.tick(secs(502 + 3600 + 60), []);
    let conduct = engine.conduct();
    let [told] = conduct.as_slice() else {
        panic!("{conduct:?}")
    };
    assert_eq!((told.offences, &*told.rule), (2, "climb"));
    assert_eq!(told.since, secs(60));
    // Another engine, another clock, another source id.
    let mut engine = Engine::new(policy.clone());
    engine.restore(conduct.clone());
    assert_eq!(engine.conduct(), conduct);
    engine.tick(secs(3), []);
    let alice = SourceName::user("alice");
    let found = see_as(&mut engine, 4, State::of(10, 0).sample(3, &alice));
    assert_eq!(found.unwrap().step.offence, 3);
    // Good conduct counts while no engine runs.
    let mut engine = Engine::new(policy);
    engine.restore(conduct.into_iter().map(|told| Conduct {
        since: told.since + secs(86_400),
        ..told
    }));
    assert_eq!(engine.conduct()[0].offences, 1);
}

#[test]
fn offences_go_with_the_name_when_a_source_id_passes_on() {
    let mut engine = running(vec![climbing(ten())]);
    assert!(offer_whole(&mut engine, 1, 10).is_some());
    let bob = SourceName::user("bob");
    assert_eq!(
        see_as(&mut engine, 2, State::of(10, 0).sample(7, &bob)),
        None
    );
    let conduct = engine.conduct();
    assert_eq!(
        (conduct.len(), &conduct[0].name),
        (1, &SourceName::user("alice"))
    );
    let alice = SourceName::user("alice");
    let found = see_as(&mut engine, 3, State::of(10, 0).sample(8, &alice));
    assert_eq!(found.unwrap().step.offence, 2);
}

#[test]
fn offences_stay_with_a_rule_of_the_same_name() {
    let mut engine = running(vec![climbing(ten())]);
    assert!(offer_whole(&mut engine, 1, 10).is_some());
    let other = rule("other", secs(60), 1000, 0);
    let stricter = climbing(vec![at_least("attempts", HOUR, 5.0)]);
    engine.set_policy(policy(vec![other, stricter]));
    assert_eq!(offer_whole(&mut engine, 2, 14), None);
    assert_eq!(offer_whole(&mut engine, 3, 15).unwrap().step.offence, 2);
    engine.set_policy(policy(Vec::new()));
    assert_eq!(engine.conduct(), []);
}

#[test]
fn danger_makes_those_climb_sooner_who_brought_it_about() {
    let address = Origin::from(IpAddr::from([192, 0, 2, 7]));
    let found_with = |replies: u8, listed: bool| {
        let mut engine = running(vec![climbing(ten())]);
        engine.set_listed(address, listed);
        let names = [SourceName::user("bad"), SourceName::user("good")];
        engine.tick(
            secs(1),
            (0..)
                .zip(&names)
                .map(|(id, name)| State::of(1, 0).sample(id, name)),
        );
        for n in 0..replies {
            engine.hear(Heard {
                source: 0,
                class: ClassName::Direct,
                server: IpAddr::from([198, 51, 100, n]),
                text: "554 blocked using zen.spamhaus.org",
                sent_from: Some(address),
            });
        }
        let samples = (0..)
            .zip(&names)
            .map(|(id, name)| State::of(20, 0).sample(id, name));
        let found = engine.tick(secs(2), samples);
        assert_eq!(found.len(), 2);
        // Whoever has done nothing of it does not feel it.
        assert!(!found[1].step.sooner && found[1].step.step == 1);
        (found[0].step.step, found[0].step.sooner)
    };
    assert_eq!(found_with(0, false), (1, false));
    assert_eq!(found_with(9, false), (1, false));
    assert_eq!(found_with(11, false), (2, true));
    assert_eq!(found_with(1, true), (2, true));
    assert_eq!(found_with(0, true), (1, false));
}
