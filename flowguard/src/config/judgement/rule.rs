//! When somebody is stopped.

use std::collections::HashSet;

use serde_spanned::Spanned;

use super::{MAX_WINDOW, SECOND, condition, ladder::Asked, raw::RawRule};
use crate::{
    config::check::Checker,
    model::ClassName,
    policy::{Condition, Ladder, Rule, RuleAction},
};

pub(super) fn rules(
    raw: &[RawRule],
    ladders: Option<&[Ladder]>,
    has_smarthost: bool,
    check: &mut Checker<'_>,
) -> Option<Vec<Rule>> {
    let mut names = HashSet::new();
    let all: Vec<_> = raw
        .iter()
        .map(|raw| {
            let name = check.name("rule.name", &raw.name, &mut names);
            let sources = check.sources("rule.sources", &raw.sources);
            let when = conditions(raw, check);
            let ladder = what_follows(raw, ladders, has_smarthost, check);
            Some(Rule {
                name: name?,
                sources: sources?,
                groups: raw.groups.clone().unwrap_or_default(),
                packages: raw.packages.clone().unwrap_or_default(),
                class: raw.class,
                when: when?,
                ladder: ladder?,
            })
        })
        .collect();
    all.into_iter().collect()
}

/// The conditions of `when`, and those that are written in short.
fn conditions(raw: &RawRule, check: &mut Checker<'_>) -> Option<Vec<Condition>> {
    let mut all = in_short(raw, check);
    let list = raw.when.as_ref().map(Spanned::get_ref);
    let written = list.into_iter().flatten();
    all.extend(written.map(|written| condition::condition(written, check)));
    let all: Vec<_> = all.into_iter().collect::<Option<_>>()?;
    if !all.iter().any(condition::asks_for_something) {
        let message = "it has no minimum and would fit nobody: write `when` with a condition that \
                       has at_least, or window with min_attempts, min_destinations or both";
        check.note("rule", &raw.name, message);
        return None;
    }
    Some(all)
}

/// `window` with `min_attempts` and `min_destinations`.
fn in_short(raw: &RawRule, check: &mut Checker<'_>) -> Vec<Option<Condition>> {
    let window = match &raw.window {
        Some(window) => check.duration("rule.window", window, SECOND, MAX_WINDOW),
        None => None,
    };
    let minimums = [
        ("attempts", &raw.min_attempts),
        ("destinations", &raw.min_destinations),
    ];
    let written = minimums.into_iter().filter_map(|(what, minimum)| {
        let minimum = minimum.as_ref()?;
        let key = format!("rule.min_{what}");
        if raw.window.is_none() {
            check.note(&key, minimum, "it needs a window: write one such as \"5m\"");
        }
        Some(condition::minimum(&key, what, window, minimum, check))
    });
    written.collect()
}

/// The ladder that is named, or the one step that is written out.
fn what_follows(
    raw: &RawRule,
    ladders: Option<&[Ladder]>,
    has_smarthost: bool,
    check: &mut Checker<'_>,
) -> Option<Ladder> {
    match (&raw.ladder, &raw.action) {
        (Some(name), None) => {
            if let Some(stray) = &raw.duration {
                let message = "the steps of a ladder have their own times: remove it";
                check.note("rule.for", stray, message);
            }
            if let Some(stray) = &raw.limit {
                let message = "the steps of a ladder have their own limits: remove it";
                check.note("rule.limit", stray, message);
            }
            let known = ladders.map(|ladders| ladders.iter().filter_map(|l| l.name.as_deref()));
            check.known("rule.ladder", name, "ladder", known);
            let named = |ladder: &&Ladder| ladder.name.as_ref() == Some(name.get_ref());
            let ladder = ladders?.iter().find(named)?;
            redirects_relay(raw, ladder, "rule.ladder", name, check)?;
            Some(ladder.clone())
        }
        (None, Some(action)) => {
            let asked = Asked {
                action,
                limit: raw.limit.as_ref(),
                duration: raw.duration.as_ref(),
            };
            let ladder = Ladder::single(asked.step("rule", has_smarthost, check)?);
            redirects_relay(raw, &ladder, "rule.action", action, check)?;
            Some(ladder)
        }
        (Some(ladder), Some(_)) => {
            let message = "it has an action as well: write `ladder`, or `action` with `for`";
            check.note("rule.ladder", ladder, message);
            None
        }
        (None, None) => {
            let message = "nothing follows from it: write `ladder`, or `action` with `for`";
            check.note("rule", &raw.name, message);
            None
        }
    }
}

/// Notes that mail to where it may go would be redirected.
fn redirects_relay<T>(
    raw: &RawRule,
    ladder: &Ladder,
    key: &str,
    place: &Spanned<T>,
    check: &mut Checker<'_>,
) -> Option<()> {
    let redirects = |action: &Option<RuleAction>| *action == Some(RuleAction::Redirect);
    if raw.class == ClassName::Relay && ladder.steps.iter().any(|step| redirects(&step.action)) {
        let message = "class `relay` is mail to where it may go: redirect `direct` or `submission`";
        check.note(key, place, message);
        return None;
    }
    Some(())
}
