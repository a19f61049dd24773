//! What is evidence, and what is not.

use super::*;

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
