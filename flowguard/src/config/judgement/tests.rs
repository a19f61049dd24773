//! What is written about judging, right and wrong.

use flowguard_common::verdict::Rate;

use super::super::tests::{assert_problem, parse};
use crate::{
    model::ClassName,
    policy::{Bound, Policy, RuleAction},
};

fn rule(replaced: &str, by: &str) -> String {
    let text = "[[rule]]\nname = 'r'\nsources = ['*']\nclass = 'direct'\nwindow = '5m'\n\
                min_attempts = 1\naction = 'block'\nfor = '1h'\n";
    assert!(text.contains(replaced));
    text.replace(replaced, by)
}

#[test]
fn rules_that_make_no_sense_are_told() {
    parse(&rule("", ""));
    for (replaced, by, place, description) in [
        ("min_attempts = 1", "", "2:8: rule", "no minimum"),
        (
            "min_attempts = 1",
            "min_attempts = 0",
            "6:16: rule.min_attempts",
            "out of range",
        ),
        (
            "min_attempts = 1",
            "min_destinations = 1025",
            "6:20: rule.min_destinations",
            "write 1 to 1024",
        ),
        ("'block'", "'limit'", "7:10: rule.action", "needs a limit"),
        (
            "'block'",
            "'new-destinations'",
            "7:10: rule.action",
            "needs a limit",
        ),
        (
            "'block'",
            "'sever'\nlimit = { burst = 1, rate = 1, per = '1s' }",
            "8:9: rule.limit",
            "remove it",
        ),
        (
            "'block'",
            "'redirect'",
            "7:10: rule.action",
            "write guard.smarthosts",
        ),
        (
            "'block'",
            "'blocked'",
            "7:10: rule.action",
            "did you mean `block`?",
        ),
        (
            "'block'",
            "'block'\nlimit = { burst = 1, rate = 1, per = '1s' }",
            "8:9: rule.limit",
            "only the actions",
        ),
        ("'5m'", "'8d'", "5:10: rule.window", "write 1s to 7days"),
        ("'1h'", "'0s'", "8:7: rule.for", "out of range"),
        (
            "'direct'",
            "'redirect'",
            "4:9: rule.class",
            "did you mean `direct`?",
        ),
    ] {
        assert_problem(&rule(replaced, by), place, description);
    }
    let twice = rule("", "").repeat(2);
    assert_problem(&twice, "10:8: rule.name", "choose a new one");
}

#[test]
fn every_action_can_be_asked_for() {
    let hosts = "[guard]\nsmarthosts = ['192.0.2.25', '[2001:db8::25]:2525']\n";
    let config = parse(hosts);
    let shown: Vec<_> = config
        .guard
        .smarthosts
        .iter()
        .map(|h| h.to_string())
        .collect();
    assert_eq!(shown, ["192.0.2.25:25", "[2001:db8::25]:2525"]);
    let limit = "\nlimit = { burst = 5, rate = 1, per = '1s' }";
    let rate = Rate {
        interval_ns: 1_000_000_000,
        burst: 5,
    };
    for (action, expected) in [
        ("'block'", RuleAction::Block),
        ("'sever'", RuleAction::Sever),
        ("'redirect'", RuleAction::Redirect),
        (&*format!("'limit'{limit}"), RuleAction::Limit(rate)),
        (
            &*format!("'new-destinations'{limit}"),
            RuleAction::NewDestinations(rate),
        ),
    ] {
        let config = parse(&(hosts.to_owned() + &rule("'block'", action)));
        assert_eq!(
            config.judgement.rules[0].ladder.steps[0].action,
            Some(expected)
        );
    }
    let relay = rule("'block'", "'redirect'").replace("'direct'", "'relay'");
    assert_problem(
        &(hosts.to_owned() + &relay),
        "9:10: rule.action",
        "redirect `direct` or",
    );
}

#[test]
fn shipped_rules_never_judge_by_rate_alone() {
    let policy = parse("").judgement;
    assert!(!policy.rules.is_empty());
    for rule in &policy.rules {
        assert!(
            rule.when.iter().any(|condition| !condition.what.is_rate()),
            "{}",
            rule.name
        );
        // Whom few servers hear of is never punished, however fast.
        let asks_for_servers = rule.when.iter().any(|condition| {
            condition.what.name() == "destinations"
                && matches!(condition.bound, Bound::AtLeast(limit) if limit >= 5.0)
        });
        assert!(asks_for_servers, "{}", rule.name);
        assert_ne!(rule.class, ClassName::Relay);
        assert!(rule.ladder.name.is_some(), "{}", rule.name);
    }
}

#[test]
fn settings_that_are_left_to_the_reference_file_are_those_of_the_engine() {
    let policy = parse("").judgement;
    let engine = Policy::default();
    assert_eq!((policy.sprt, policy.risk), (engine.sprt, engine.risk));
    assert_eq!((policy.packages, policy.overrides), (vec![], vec![]));
}

/// A rule with these conditions.
fn when(conditions: &str) -> String {
    format!(
        "[[rule]]\nname = 'r'\nsources = ['*']\nclass = 'direct'\nladder = 'suspect'\n\
         when = [{conditions}]\n"
    )
}

#[test]
fn conditions_say_what_they_mean() {
    let config = parse(&when(
        "{ within = '10m', what = 'destinations', at_least = 15 },\n\
         { within = '10m', what = 'rejected-ratio', at_least = 0.4, of_at_least = 10 },\n\
         { within = '7d', before = '1h', what = 'messages', at_most = 0 },\n\
         { what = 'likelihood' }",
    ));
    let [rule] = config.judgement.rules.as_slice() else {
        panic!("{:?}", config.judgement.rules)
    };
    let read: Vec<_> = rule
        .when
        .iter()
        .map(|condition| {
            let seconds = |length: std::time::Duration| length.as_secs();
            (
                condition.what.name(),
                seconds(condition.within),
                seconds(condition.before),
                condition.bound,
                condition.of_at_least,
            )
        })
        .collect();
    assert_eq!(
        read,
        [
            ("destinations", 600, 0, Bound::AtLeast(15.0), 0),
            ("rejected-ratio", 600, 0, Bound::AtLeast(0.4), 10),
            ("messages", 604_800, 3_600, Bound::AtMost(0.0), 0),
            ("likelihood", 0, 0, Bound::AtLeast(1.0), 0),
        ]
    );
}

#[test]
fn conditions_that_make_no_sense_are_told() {
    for (condition, place, description) in [
        ("", "2:8: rule", "would fit nobody"),
        (
            "{ within = '1h', what = 'messages', at_most = 0 }",
            "2:8: rule",
            "would fit nobody",
        ),
        (
            "{ within = '1h', what = 'destination', at_least = 1 }",
            "6:33: rule.when.what",
            "did you mean `destinations`?",
        ),
        (
            "{ what = 'attempts', at_least = 1 }",
            "6:9: rule.when",
            "needs a window",
        ),
        (
            "{ within = '1h', what = 'attempts' }",
            "6:9: rule.when",
            "either at_least or at_most",
        ),
        (
            "{ within = '1h', what = 'attempts', at_least = 1, at_most = 2 }",
            "6:9: rule.when",
            "either at_least or at_most",
        ),
        (
            "{ within = '1h', what = 'attempts', at_least = 0 }",
            "6:56: rule.when.at_least",
            "out of range",
        ),
        (
            "{ within = '1h', what = 'attempts', at_least = nan }",
            "6:56: rule.when.at_least",
            "out of range",
        ),
        (
            "{ within = '1h', what = 'destinations', at_least = 1025 }",
            "6:60: rule.when.at_least",
            "write 1 to 1024",
        ),
        (
            "{ within = '8d', what = 'attempts', at_least = 1 }",
            "6:20: rule.when.within",
            "1s to 7days",
        ),
        (
            "{ within = '1h', before = '1h', what = 'attempts', at_least = 1 }",
            "6:35: rule.when.before",
            "out of range",
        ),
        (
            "{ within = '1h', what = 'failed-ratio', at_least = 0.5 }",
            "6:9: rule.when",
            "write of_at_least",
        ),
        (
            "{ within = '1h', what = 'failed', at_least = 5, of_at_least = 1 }",
            "6:71: rule.when.of_at_least",
            "remove it",
        ),
        (
            "{ what = 'likelihood', at_least = 2 }",
            "6:9: rule.when",
            "neither window nor limit",
        ),
        (
            "{ within = '1h', what = 'attempts', atleast = 2 }",
            "6:45: rule.when.atleast",
            "did you mean `at_least`?",
        ),
    ] {
        assert_problem(&when(condition), place, description);
    }
}

#[test]
fn ladders_add_to_the_shipped_ones() {
    let own = "[[ladder]]\nname = 'suspect'\nsteps = [{ action = 'notice' }]\ngrowth = 3\n";
    let config = parse(own);
    let of = |name: &str| {
        let rules = config.judgement.rules.iter();
        let mut ladders = rules.map(|rule| &rule.ladder);
        ladders
            .find(|ladder| ladder.name.as_deref() == Some(name))
            .unwrap()
    };
    assert_eq!(of("suspect").steps[0].action, None);
    assert_eq!(of("suspect").growth, 3.0);
    assert_eq!(of("certain").steps[0].action, Some(RuleAction::Block));
}

#[test]
fn ladders_that_make_no_sense_are_told() {
    let ladder = |steps: &str| format!("[[ladder]]\nname = 'l'\nsteps = [{steps}]\n");
    for (text, place, description) in [
        (ladder(""), "3:9: ladder.steps", "no steps"),
        (
            ladder("{ action = 'notice', for = '1h' }"),
            "3:37: ladder.steps.for",
            "remove it",
        ),
        (
            ladder("{ action = 'block' }"),
            "3:21: ladder.steps.action",
            "needs a duration",
        ),
        (
            ladder("{ action = 'limit', for = '1h' }"),
            "3:21: ladder.steps.action",
            "needs a limit",
        ),
        (
            ladder("{ action = 'sever', for = '1h' }, { action = 'block', for = '1h' }"),
            "3:55: ladder.steps.action",
            "milder than the step before",
        ),
        (
            ladder("{ action = 'notice' }") + "growth = 0.5\n",
            "4:10: ladder.growth",
            "write 1 to 100",
        ),
        (
            rule("action = 'block'\nfor = '1h'", "ladder = 'suspct'"),
            "7:10: rule.ladder",
            "write one of suspect, certain",
        ),
        (
            rule("for = '1h'", "for = '1h'\nladder = 'suspect'"),
            "9:10: rule.ladder",
            "an action as well",
        ),
        (
            rule("action = 'block'", "ladder = 'suspect'"),
            "8:7: rule.for",
            "remove it",
        ),
        (
            rule("action = 'block'\nfor = '1h'", ""),
            "2:8: rule",
            "nothing follows",
        ),
        (
            rule("window = '5m'\n", ""),
            "5:16: rule.min_attempts",
            "needs a window",
        ),
    ] {
        assert_problem(&text, place, description);
    }
}

#[test]
fn packages_and_overrides_are_read() {
    let policy = parse(
        "[[package]]\nname = 'Gold plan'\nfactor = 3\n\
         [[override]]\nname = 'o'\nsources = ['user:shop']\nskip = ['direct-novel']\n\
         until = '2026-12-27'\n",
    )
    .judgement;
    assert_eq!(policy.packages[0].name, "Gold plan");
    assert_eq!(policy.packages[0].factor, 3.0);
    let over = &policy.overrides[0];
    assert_eq!((over.factor, over.skip.len()), (1.0, 1));
    assert_eq!(over.until.unwrap().to_string(), "2026-12-27T00:00:00Z");
}

#[test]
fn packages_overrides_and_settings_that_make_no_sense_are_told() {
    let over = |line: &str| format!("[[override]]\nname = 'o'\nsources = ['*']\n{line}\n");
    for (text, place, description) in [
        (over(""), "2:8: override", "changes nothing"),
        (over("factor = 0"), "4:10: override.factor", "out of range"),
        (
            over("skip = ['nobody']"),
            "4:9: override.skip",
            "there is no rule `nobody`",
        ),
        (
            over("factor = 2\nuntil = 'tomorrow'"),
            "5:9: override.until",
            "write it like 2026-12-24",
        ),
        (
            "[[package]]\nname = ''\nfactor = 1".to_owned(),
            "2:8: package.name",
            "empty",
        ),
        (
            "[sprt]\ntheta0 = 0.95".to_owned(),
            "2:10: sprt.theta0",
            "above theta0",
        ),
        (
            "[sprt]\nalpha = 0".to_owned(),
            "2:9: sprt.alpha",
            "out of range",
        ),
        (
            "[risk]\nshare = 2".to_owned(),
            "2:9: risk.share",
            "write 0 to 1",
        ),
    ] {
        assert_problem(&text, place, description);
    }
}
