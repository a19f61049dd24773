//! What happens to whom a rule fits.

use std::{collections::HashSet, time::Duration};

use serde_spanned::Spanned;

use super::{
    MAX_VERDICT, SECOND,
    raw::{RawAction, RawLadder},
};
use crate::{
    config::{check::Checker, raw::RawRate},
    policy::{Ladder, RuleAction, Step},
};

/// Growth, and time until an offence is forgiven, of ladders that do not say.
const GROWTH: f64 = 2.0;
const FORGIVE: Duration = Duration::from_hours(24);
const LONGEST: Duration = Duration::from_hours(24 * 7);

pub(super) fn ladders(
    raw: &[RawLadder],
    has_smarthost: bool,
    check: &mut Checker<'_>,
) -> Option<Vec<Ladder>> {
    let mut names = HashSet::new();
    let all: Vec<_> = raw
        .iter()
        .map(|raw| ladder(raw, has_smarthost, &mut names, check))
        .collect();
    all.into_iter().collect()
}

fn ladder(
    raw: &RawLadder,
    has_smarthost: bool,
    names: &mut HashSet<String>,
    check: &mut Checker<'_>,
) -> Option<Ladder> {
    let name = check.name("ladder.name", &raw.name, names);
    let steps = raw.steps.get_ref();
    if steps.is_empty() {
        check.note("ladder.steps", &raw.steps, "it has no steps");
    }
    for pair in steps.windows(2) {
        if pair[1].action.get_ref() < pair[0].action.get_ref() {
            let message = "it is milder than the step before: a ladder leads from notice over \
                           new-destinations, limit, redirect and block to sever";
            check.note("ladder.steps.action", &pair[1].action, message);
        }
    }
    let written: Vec<_> = steps
        .iter()
        .map(|step| {
            let asked = Asked {
                action: &step.action,
                limit: step.limit.as_ref(),
                duration: step.duration.as_ref(),
            };
            asked.step("ladder.steps", has_smarthost, check)
        })
        .collect();
    let growth = match &raw.growth {
        Some(growth) => check.number("ladder.growth", growth, 1.0, 100.0),
        None => Some(GROWTH),
    };
    let mut time = |key: &str, value: &Option<Spanned<String>>, default| match value {
        Some(value) => check.duration(&format!("ladder.{key}"), value, SECOND, MAX_VERDICT),
        None => Some(default),
    };
    let longest = time("longest", &raw.longest, LONGEST);
    let forgive = time("forgive", &raw.forgive, FORGIVE);
    Some(Ladder {
        name: Some(name?),
        steps: written.into_iter().collect::<Option<_>>()?,
        growth: growth?,
        longest: longest?,
        forgive: forgive?,
    })
}

/// An action with what belongs to it.
pub(super) struct Asked<'a> {
    pub(super) action: &'a Spanned<RawAction>,
    pub(super) limit: Option<&'a Spanned<RawRate>>,
    pub(super) duration: Option<&'a Spanned<String>>,
}

impl Asked<'_> {
    /// The step it means; `key` is where it stands.
    pub(super) fn step(
        &self,
        key: &str,
        has_smarthost: bool,
        check: &mut Checker<'_>,
    ) -> Option<Step> {
        let action = *self.action.get_ref();
        let of = |part: &str| format!("{key}.{part}");
        let rate = self.rate(key, check);
        let done = match action {
            RawAction::Notice => None,
            RawAction::NewDestinations => Some(RuleAction::NewDestinations(rate??)),
            RawAction::Limit => Some(RuleAction::Limit(rate??)),
            RawAction::Redirect if !has_smarthost => {
                let message = "there is no smarthost to redirect to: write guard.smarthosts";
                check.note(&of("action"), self.action, message);
                return None;
            }
            RawAction::Redirect => Some(RuleAction::Redirect),
            RawAction::Block => Some(RuleAction::Block),
            RawAction::Sever => Some(RuleAction::Sever),
        };
        rate?;
        let duration = match (self.duration, done) {
            (Some(duration), Some(_)) => {
                check.duration(&of("for"), duration, SECOND, MAX_VERDICT)?
            }
            (None, None) => Duration::ZERO,
            (Some(duration), None) => {
                let message = "a notice is made once and has no duration: remove it";
                check.note(&of("for"), duration, message);
                return None;
            }
            (None, Some(_)) => {
                let message = "this action needs a duration: write one such as for = \"1h\"";
                check.note(&of("action"), self.action, message);
                return None;
            }
        };
        Some(Step {
            action: done,
            duration,
        })
    }

    /// The rate, where there is to be one. None: something is wrong with it.
    fn rate(
        &self,
        key: &str,
        check: &mut Checker<'_>,
    ) -> Option<Option<flowguard_common::verdict::Rate>> {
        let wants_rate = matches!(
            self.action.get_ref(),
            RawAction::NewDestinations | RawAction::Limit
        );
        match (self.limit, wants_rate) {
            (Some(limit), true) => check
                .rate(&format!("{key}.limit"), limit.get_ref())
                .map(Some),
            (None, false) => Some(None),
            (None, true) => {
                let message = "this action needs a limit: write one such as \
                               limit = { burst = 10, rate = 10, per = \"1h\" }";
                check.note(&format!("{key}.action"), self.action, message);
                None
            }
            (Some(limit), false) => {
                let message = "only the actions \"limit\" and \"new-destinations\" have a limit: \
                               remove it or change the action";
                check.note(&format!("{key}.limit"), limit, message);
                None
            }
        }
    }
}
