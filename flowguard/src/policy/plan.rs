//! The rules of one class, made ready for weighing: which counters and windows they need at all,
//! and for every condition where in a history its values stand.

use std::time::Duration;

use super::{
    clock::{Tenths, duration, tenths},
    history::{History, Shape},
    measure::{Counter, Fields, Kind},
    rule::{Bound, Condition, Rule},
    settings::Policy,
};
use crate::{
    control::api::{self, Observation},
    model::{ClassName, SourceName},
};

/// What is weighed in one class.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The windows that some condition looks at.
    pub(super) shape: Shape,
    /// The counters that some condition asks for, in the order of a history's columns.
    pub(super) columns: Vec<Counter>,
    /// For each column the gates that its growth may open.
    pub(super) opens: Vec<Gates>,
    rules: Vec<PlannedRule>,
    /// Every set of rules that fits some source, each once.
    fits: Vec<Fit>,
}

/// Rules of a plan by their numbers, as bits. A rule has a gate if it asks for a count of at least so
/// much, up to now. A count that was too small stays so until it grows, however much time goes by:
/// before that, nothing of the rule has to be looked at.
pub(super) type Gates = u64;

/// What of a policy concerns a source.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fit {
    /// Indices into the rules of a plan.
    rules: Vec<usize>,
    /// Its limits of counts are so many times as high.
    factor: f64,
}

/// Who a source is, as far as it decides which rules judge it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    pub(super) name: &'a SourceName,
    pub(super) package: Option<&'a str>,
    pub(super) groups: &'a [String],
}

#[derive(Debug)]
pub(super) struct PlannedRule {
    /// Where it stands in the policy.
    pub(super) index: usize,
    /// Counters that must be known.
    needs: Fields,
    /// Whether the sequential test must have decided.
    pub(super) asks_likelihood: bool,
    checks: Vec<Check>,
    gate: Option<Gate>,
}

#[derive(Clone, Copy, Debug)]
struct Gate {
    bit: Gates,
    /// Place of the check that tells whether it is shut.
    check: usize,
}

/// A condition that looks at the past.
#[derive(Debug)]
struct Check {
    condition: Condition,
    part: Vec<usize>,
    /// Empty: it is no ratio.
    whole: Vec<usize>,
    level: usize,
    before: Option<usize>,
}

impl Plan {
    pub(super) fn new(policy: &Policy, class: ClassName) -> Self {
        let rules = || {
            policy
                .rules
                .iter()
                .enumerate()
                .filter(|(_, rule)| rule.class == class)
        };
        let conditions = || {
            let all = rules().flat_map(|(_, rule)| &rule.when);
            all.filter(|condition| !condition.what.is_likelihood())
        };
        let mut lengths: Vec<Tenths> = conditions()
            .flat_map(|condition| [condition.within, condition.before])
            .filter(|length| !length.is_zero())
            .map(tenths)
            .collect();
        lengths.sort_unstable();
        lengths.dedup();
        let mut columns: Vec<Counter> = conditions()
            .flat_map(|condition| match condition.what.kind() {
                Kind::Count(counters) => [counters, &[]],
                Kind::Ratio(part, whole) => [part, whole],
                Kind::Likelihood => [&[][..], &[]],
            })
            .flatten()
            .copied()
            .collect();
        columns.sort_unstable();
        columns.dedup();
        let mut rules: Vec<_> = rules()
            .map(|(index, rule)| PlannedRule::new(index, rule, &lengths, &columns))
            .collect();
        let mut opens = vec![0; columns.len()];
        for (rule, number) in rules.iter_mut().zip(0..Gates::BITS) {
            let Some(check) = rule.checks.iter().position(Check::may_be_gate) else {
                continue;
            };
            let bit = 1 << number;
            rule.gate = Some(Gate { bit, check });
            for column in &rule.checks[check].part {
                opens[*column] |= bit;
            }
        }
        Self {
            rules,
            opens,
            shape: Shape {
                lengths,
                columns: columns.len(),
            },
            columns,
            fits: Vec::new(),
        }
    }

    /// What of the policy concerns a source: the number of a [`Fit`].
    pub(super) fn fit(&mut self, policy: &Policy, who: Who<'_>) -> u32 {
        let own = policy.packages.iter().find(|package| match who.package {
            Some(name) => package.name == name,
            None => {
                let sources = package.sources.as_ref();
                sources.is_some_and(|sources| sources.matches(who.name))
            }
        });
        let package = who.package.or(own.map(|package| &*package.name));
        let over = policy
            .overrides
            .iter()
            .find(|over| over.sources.matches(who.name));
        let judges = |rule: &Rule| {
            let skipped = over.is_some_and(|over| over.skip.contains(&rule.name));
            !skipped
                && rule.sources.matches(who.name)
                && {
                    let of_group = rule.groups.iter().any(|group| who.groups.contains(group));
                    rule.groups.is_empty() || of_group
                }
                && {
                    let of_package =
                        package.is_some_and(|name| rule.packages.iter().any(|p| p == name));
                    rule.packages.is_empty() || of_package
                }
        };
        let rules = self.rules.iter().enumerate();
        let fit = Fit {
            rules: rules
                .filter(|(_, planned)| judges(&policy.rules[planned.index]))
                .map(|(number, _)| number)
                .collect(),
            factor: own.map_or(1.0, |own| own.factor) * over.map_or(1.0, |over| over.factor),
        };
        let number = self.fits.iter().position(|known| *known == fit);
        let number = number.unwrap_or_else(|| {
            self.fits.push(fit);
            self.fits.len() - 1
        });
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// The rules that judge a source with this fit, and the factor of its limits.
    pub(super) fn judging(&self, fit: u32) -> (impl Iterator<Item = &PlannedRule>, f64) {
        let fit = self.fits.get(fit as usize);
        let rules = fit.map_or(&[][..], |fit| &fit.rules).iter();
        let factor = fit.map_or(1.0, |fit| fit.factor);
        (rules.map(|number| &self.rules[*number]), factor)
    }
}

impl PlannedRule {
    fn new(index: usize, rule: &Rule, lengths: &[Tenths], columns: &[Counter]) -> Self {
        let column = |counter: &Counter| columns.binary_search(counter).ok();
        let level = |length: Duration| lengths.binary_search(&tenths(length)).ok();
        let check = |condition: &Condition| {
            let (part, whole): (&[_], &[_]) = match condition.what.kind() {
                Kind::Count(counters) => (counters, &[]),
                Kind::Ratio(part, whole) => (part, whole),
                Kind::Likelihood => return None,
            };
            Some(Check {
                condition: *condition,
                part: part.iter().filter_map(column).collect(),
                whole: whole.iter().filter_map(column).collect(),
                level: level(condition.within)?,
                before: level(condition.before),
            })
        };
        let needs = rule.when.iter().map(|condition| condition.what.needs());
        Self {
            index,
            needs: needs.fold(Fields::NONE, Fields::union),
            asks_likelihood: rule.when.iter().any(|c| c.what.is_likelihood()),
            checks: rule.when.iter().filter_map(check).collect(),
            gate: None,
        }
    }

    /// Its bit; none: it has no gate.
    pub(super) fn gate(&self) -> Gates {
        self.gate.map_or(0, |gate| gate.bit)
    }

    /// Whether the count is too small that its gate goes by.
    pub(super) fn is_shut(&self, past: &Past<'_>) -> bool {
        self.gate
            .is_some_and(|gate| !past.meets(&self.checks[gate.check]))
    }

    /// Whether all that it asks for is known and the past meets every condition but the
    /// likelihood.
    pub(super) fn is_met(&self, past: &Past<'_>) -> bool {
        past.known.contains(self.needs) && self.checks.iter().all(|check| past.meets(check))
    }

    /// What was seen, condition by condition.
    pub(super) fn observations(&self, past: &Past<'_>) -> Vec<Observation> {
        let checks = self.checks.iter();
        checks.map(|check| past.observation(check)).collect()
    }
}

impl Check {
    /// Whether its value only ever falls until what it counts grows: of a window that ends now.
    fn may_be_gate(&self) -> bool {
        let is_count = self.whole.is_empty();
        is_count && self.before.is_none() && matches!(self.condition.bound, Bound::AtLeast(_))
    }
}

/// What is known of a source's past when a rule is weighed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past<'a> {
    pub(super) shape: &'a Shape,
    pub(super) history: &'a History,
    /// The counts as they stand.
    pub(super) counts: &'a [u32],
    /// The counts when the rule was last fulfilled: what was before is no new evidence.
    pub(super) spent: Option<&'a [u32]>,
    pub(super) known: Fields,
    /// For how long the source has been watched.
    pub(super) watched: Tenths,
    /// The source's limits of counts are so many times as high.
    pub(super) factor: f64,
}

impl Past<'_> {
    /// Growth of some counters together, within the window of a check.
    fn sum(&self, check: &Check, columns: &[usize], is_new: bool) -> u64 {
        let growth = |column: &usize| {
            let count = self.counts[*column];
            let grown = |level| self.history.growth(self.shape, level, *column, count);
            let mut within = grown(check.level);
            if let Some(spent) = self.spent.filter(|_| is_new) {
                within = within.min(count.wrapping_sub(spent[*column]));
            }
            u64::from(within.saturating_sub(check.before.map_or(0, grown)))
        };
        columns.iter().map(growth).sum()
    }

    /// The value of a check, and of a ratio how much it is a share of.
    fn value(&self, check: &Check) -> (f64, Option<u64>) {
        // That somebody did little is no evidence that could be spent.
        let is_new = !check.whole.is_empty() || matches!(check.condition.bound, Bound::AtLeast(_));
        let part = self.sum(check, &check.part, is_new);
        if check.whole.is_empty() {
            return (part as f64, None);
        }
        let whole = self.sum(check, &check.whole, is_new);
        (part as f64 / whole.max(1) as f64, Some(whole))
    }

    fn limit(&self, check: &Check) -> f64 {
        match check.condition.bound {
            Bound::AtLeast(limit) if check.whole.is_empty() => limit * self.factor,
            Bound::AtLeast(limit) | Bound::AtMost(limit) => limit,
        }
    }

    fn meets(&self, check: &Check) -> bool {
        let (value, of) = self.value(check);
        if of.is_some_and(|of| of < check.condition.of_at_least.max(1)) {
            return false;
        }
        match check.condition.bound {
            Bound::AtLeast(_) => value >= self.limit(check),
            // What happened before anybody watched is not known.
            Bound::AtMost(limit) => {
                value <= limit && (of.is_some() || self.watched >= self.shape.lengths[check.level])
            }
        }
    }

    fn observation(&self, check: &Check) -> Observation {
        let (value, of) = self.value(check);
        Observation {
            what: check.condition.what.name().to_owned(),
            value,
            limit: self.limit(check),
            bound: match check.condition.bound {
                Bound::AtLeast(_) => api::Bound::AtLeast,
                Bound::AtMost(_) => api::Bound::AtMost,
            },
            of,
            window_seconds: duration(self.shape.lengths[check.level]).as_secs(),
            before_seconds: check.condition.before.as_secs(),
        }
    }
}
