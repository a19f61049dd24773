//! What is written about judging: rules and their ladders, the sequential test, risk, packages and
//! overrides.

mod condition;
mod ladder;
pub(super) mod raw;
mod rule;

#[cfg(test)]
mod tests;

use std::{collections::HashSet, time::Duration};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_spanned::Spanned;

use self::{
    ladder::ladders,
    raw::{RawOverride, RawPackage, RawRisk, RawSprt},
    rule::rules,
};
use super::{check::Checker, raw::RawConfig};
use crate::policy::{Override, Package, Policy, RiskSettings, Rule, SprtSettings};

const SECOND: Duration = Duration::from_secs(1);
const MAX_WINDOW: Duration = Duration::from_hours(24 * 7);
const MAX_VERDICT: Duration = Duration::from_hours(24 * 366);

/// Largest factor of limits, and the smallest is one of it.
const MAX_FACTOR: f64 = 1000.0;

/// Interprets all of it.
pub(super) fn judgement(raw: &RawConfig, check: &mut Checker<'_>) -> Option<Policy> {
    let has_smarthost = !raw.guard.smarthosts.get_ref().is_empty();
    let sprt = sprt(&raw.sprt, check);
    let risk = risk(&raw.risk, check);
    let ladders = ladders(&raw.ladder, has_smarthost, check);
    let rules = rules(&raw.rule, ladders.as_deref(), has_smarthost, check);
    let packages = packages(raw.package.as_deref().unwrap_or_default(), check);
    let overrides = raw.overrides.as_deref().unwrap_or_default();
    let overrides = overrides_of(overrides, rules.as_deref(), check);
    Some(Policy {
        rules: rules?,
        sprt: sprt?,
        risk: risk?,
        packages: packages?,
        overrides: overrides?,
    })
}

fn sprt(raw: &RawSprt, check: &mut Checker<'_>) -> Option<SprtSettings> {
    let mut share = |key: &str, value| check.number(&format!("sprt.{key}"), value, 1e-9, 0.999);
    let theta0 = share("theta0", &raw.theta0);
    let theta1 = share("theta1", &raw.theta1);
    let alpha = share("alpha", &raw.alpha);
    let beta = share("beta", &raw.beta);
    let half_life = check.duration(
        "sprt.half_life",
        &raw.half_life,
        Duration::from_mins(1),
        MAX_WINDOW,
    );
    let settings = SprtSettings {
        theta0: theta0?,
        theta1: theta1?,
        alpha: alpha?,
        beta: beta?,
        half_life: half_life?,
    };
    if settings.theta0 >= settings.theta1 {
        let message = "outcomes of a bad source are bad more often than those of a good one: \
                       theta1 must be above theta0";
        // Blame what the operator wrote, not the default.
        if check.is_written(&raw.theta1) {
            check.note("sprt.theta1", &raw.theta1, message);
        } else {
            check.note("sprt.theta0", &raw.theta0, message);
        }
    }
    if settings.alpha + settings.beta >= 1.0 {
        let message = "alpha and beta are how often the test may be wrong: together below 1";
        if check.is_written(&raw.alpha) {
            check.note("sprt.alpha", &raw.alpha, message);
        } else {
            check.note("sprt.beta", &raw.beta, message);
        }
    }
    Some(settings)
}

fn risk(raw: &RawRisk, check: &mut Checker<'_>) -> Option<RiskSettings> {
    let mut points = |key: &str, value| check.number(&format!("risk.{key}"), value, 0.0, 1e6);
    let rejection = points("rejection", &raw.rejection);
    let words = points("words", &raw.words);
    let listing = points("listing", &raw.listing);
    let danger = check.number("risk.danger", &raw.danger, 0.1, 1e6);
    let share = check.number("risk.share", &raw.share, 0.0, 1.0);
    let half_life = check.duration(
        "risk.half_life",
        &raw.half_life,
        Duration::from_mins(1),
        MAX_WINDOW,
    );
    Some(RiskSettings {
        rejection: rejection?,
        words: words?,
        listing: listing?,
        half_life: half_life?,
        danger: danger?,
        share: share?,
    })
}

fn packages(raw: &[RawPackage], check: &mut Checker<'_>) -> Option<Vec<Package>> {
    let mut names = HashSet::new();
    let all: Vec<_> = raw
        .iter()
        .map(|raw| {
            let name = check.panel_name("package.name", &raw.name, &mut names);
            let sources = match &raw.sources {
                Some(sources) => Some(check.sources("package.sources", sources)?),
                None => None,
            };
            Some(Package {
                name: name?,
                sources,
                factor: factor("package.factor", &raw.factor, check)?,
            })
        })
        .collect();
    all.into_iter().collect()
}

fn overrides_of(
    raw: &[RawOverride],
    rules: Option<&[Rule]>,
    check: &mut Checker<'_>,
) -> Option<Vec<Override>> {
    let mut names = HashSet::new();
    let all: Vec<_> = raw
        .iter()
        .map(|raw| {
            let name = check.name("override.name", &raw.name, &mut names);
            let sources = check.sources("override.sources", &raw.sources);
            let factor = match &raw.factor {
                Some(value) => factor("override.factor", value, check),
                None => Some(1.0),
            };
            let skip = raw.skip.as_deref().unwrap_or_default();
            for rule in skip {
                let known = rules.map(|rules| rules.iter().map(|rule| &*rule.name));
                check.known("override.skip", rule, "rule", known);
            }
            if raw.factor.is_none() && skip.is_empty() {
                let message = "it changes nothing: write factor, skip or both";
                check.note("override", &raw.name, message);
            }
            let until = match &raw.until {
                Some(until) => Some(moment("override.until", until, check)?),
                None => None,
            };
            Some(Override {
                name: name?,
                sources: sources?,
                factor: factor?,
                skip: skip.iter().map(|rule| rule.get_ref().clone()).collect(),
                until,
            })
        })
        .collect();
    all.into_iter().collect()
}

fn factor(key: &str, value: &Spanned<f64>, check: &mut Checker<'_>) -> Option<f64> {
    check.number(key, value, 1.0 / MAX_FACTOR, MAX_FACTOR)
}

/// `2026-12-24T18:00:00Z`, or `2026-12-24` for the beginning of that day in UTC.
fn moment(key: &str, value: &Spanned<String>, check: &mut Checker<'_>) -> Option<Timestamp> {
    let text = value.get_ref();
    let day = |text: &str| {
        let day: Date = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).ok()
    };
    let moment = text.parse().ok().or_else(|| day(text));
    if moment.is_none() {
        let message =
            format!("`{text}` is no time: write it like 2026-12-24 or 2026-12-24T18:00:00Z");
        check.note(key, value, message);
    }
    moment
}
