//! What must be so for a rule to fit.

use std::time::Duration;

use flowguard_common::fanout::FANOUT_BITS;
use serde_spanned::Spanned;

use super::{MAX_WINDOW, SECOND, raw::RawCondition};
use crate::{
    config::check::Checker,
    policy::{Bound, Condition, Measure},
};

/// Most first contacts within an hour that a rule can ask for. Beyond half of its bits the kernel's
/// bitmap counts much fewer than there were.
const MAX_DESTINATIONS: f64 = FANOUT_BITS as f64 / 2.0;
/// Most of anything.
const MAX: f64 = 1e9;
/// Within an hour, the bitmap begins anew at most once.
const HOUR: Duration = Duration::from_hours(1);

/// Whether a condition can tell somebody who does something from somebody who does nothing.
pub(super) fn asks_for_something(condition: &Condition) -> bool {
    condition.what.is_likelihood() || matches!(condition.bound, Bound::AtLeast(_))
}

/// A minimum of a counter, `rule.min_…`.
pub(super) fn minimum(
    key: &str,
    what: &str,
    window: Option<Duration>,
    minimum: &Spanned<i64>,
    check: &mut Checker<'_>,
) -> Option<Condition> {
    let what: Measure = what.parse().ok()?;
    let within = window.unwrap_or(SECOND);
    let limit = check.integer::<i64>(key, minimum, 1, most(what, within) as i64)?;
    window.map(|within| Condition {
        what,
        within,
        before: Duration::ZERO,
        bound: Bound::AtLeast(limit as f64),
        of_at_least: 0,
    })
}

/// Most that can be asked for.
fn most(what: Measure, within: Duration) -> f64 {
    if what.name() == "destinations" && within <= HOUR {
        MAX_DESTINATIONS
    } else {
        MAX
    }
}

/// An element of `rule.when`.
pub(super) fn condition(raw: &Spanned<RawCondition>, check: &mut Checker<'_>) -> Option<Condition> {
    let written = raw.get_ref();
    let parsed = written.what.get_ref().parse::<Measure>();
    let what = check.accept("rule.when.what", &written.what, parsed)?;
    if what.is_likelihood() {
        return likelihood(raw, what, check);
    }
    let Some(within) = &written.within else {
        let message = "it needs a window: write one such as within = \"10m\"";
        check.note("rule.when", raw, message);
        return None;
    };
    let within = check.duration("rule.when.within", within, SECOND, MAX_WINDOW)?;
    let before = match &written.before {
        Some(before) => check.duration(
            "rule.when.before",
            before,
            SECOND,
            // What is left out is a part of the window.
            within.saturating_sub(SECOND).max(SECOND),
        )?,
        None => Duration::ZERO,
    };
    let bound = match (&written.at_least, &written.at_most) {
        (Some(limit), None) => {
            let least = if what.is_ratio() { 0.0001 } else { 1.0 };
            let most = most(what, within);
            Bound::AtLeast(check.number("rule.when.at_least", limit, least, most)?)
        }
        (None, Some(limit)) => Bound::AtMost(check.number("rule.when.at_most", limit, 0.0, MAX)?),
        _ => {
            check.note("rule.when", raw, "write either at_least or at_most");
            return None;
        }
    };
    Some(Condition {
        what,
        within,
        before,
        bound,
        of_at_least: of_at_least(raw, what, check)?,
    })
}

/// How much there must be of what a ratio is a share of.
fn of_at_least(raw: &Spanned<RawCondition>, what: Measure, check: &mut Checker<'_>) -> Option<u64> {
    match (&raw.get_ref().of_at_least, what.is_ratio()) {
        (Some(minimum), true) => check.integer("rule.when.of_at_least", minimum, 1, MAX as i64),
        (None, false) => Some(0),
        (None, true) => {
            let message = "a ratio of next to nothing says nothing: write of_at_least, \
                           such as of_at_least = 10";
            check.note("rule.when", raw, message);
            None
        }
        (Some(minimum), false) => {
            let message = "only ratios have of_at_least: remove it";
            check.note("rule.when.of_at_least", minimum, message);
            None
        }
    }
}

/// The sequential test's decision, to which nothing can be added.
fn likelihood(
    raw: &Spanned<RawCondition>,
    what: Measure,
    check: &mut Checker<'_>,
) -> Option<Condition> {
    let RawCondition {
        what: _,
        within: None,
        before: None,
        at_least: None,
        at_most: None,
        of_at_least: None,
    } = raw.get_ref()
    else {
        let message = "the likelihood has neither window nor limit: [sprt] says when it is enough";
        check.note("rule.when", raw, message);
        return None;
    };
    Some(Condition {
        what,
        within: Duration::ZERO,
        before: Duration::ZERO,
        bound: Bound::AtLeast(1.0),
        of_at_least: 0,
    })
}
