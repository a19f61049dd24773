//! What the engine knows of one source in one class.

use std::net::IpAddr;

use super::{
    clock::Tenths,
    evidence::{Origin, Sample},
    finding::Finding,
    history::{History, rearranged},
    measure::{Counter, Fields, Values, values},
    offence::{Offence, Sentence, When, sentence},
    plan::{Gates, Past, Plan, PlannedRule, Who},
    risk::{Risks, Share, Weight},
    settings::Policy,
    sprt::{Outcomes, Sprt, Test},
    words::Meaning,
};
use crate::model::{ClassName, SourceName, Totals};

/// Servers that are remembered for what they said.
const SERVERS: usize = 8;
/// A server that says the same again within so long says nothing new.
const SAME: Tenths = 36_000;

/// A reply that waits for the tick.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) server: IpAddr,
    pub(super) meaning: Option<Meaning>,
    pub(super) sent_from: Option<Origin>,
    /// What it adds to that address's risk.
    pub(super) weight: Option<Weight>,
}

/// What an account is weighed with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scales<'a> {
    pub(super) policy: &'a Policy,
    pub(super) plan: &'a Plan,
    pub(super) test: &'a Test,
    pub(super) risks: &'a Risks,
    pub(super) now: Tenths,
}

/// One source in one class.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: SourceName,
    pub(super) class: ClassName,
    package: Option<String>,
    groups: Vec<String>,
    /// Which rules judge it; none: that has to be looked up.
    pub(super) fit: Option<u32>,
    /// Rules that cannot fit before some count has grown.
    shut: Gates,
    last: Values,
    /// Number of the tick of the last sample.
    pub(super) tick: u32,
    /// Whether it was exempt or under a verdict that leaves nothing to weigh.
    pub(super) unjudged: bool,
    /// Since when all it does has been watched.
    watched_since: Tenths,
    /// Counts by the plan's columns, wrapping.
    counts: Box<[u32]>,
    pub(super) history: History,
    sprt: Sprt,
    share: Share,
    /// Who accused it lately, and when.
    accusers: Vec<(IpAddr, Tenths)>,
    pub(super) offences: Vec<Offence>,
}

impl Account {
    /// An account that begins with `last`, what was counted before; all that came after it has
    /// been watched since `watched_since`.
    pub(super) fn new(
        sample: &Sample<'_>,
        last: Totals,
        columns: usize,
        watched_since: Tenths,
    ) -> Self {
        Self {
            name: sample.name.clone(),
            class: sample.class,
            package: sample.package.map(ToOwned::to_owned),
            groups: sample.groups.to_vec(),
            fit: None,
            shut: 0,
            last: values(&last),
            tick: 0,
            unjudged: false,
            watched_since,
            counts: vec![0; columns].into(),
            history: History::default(),
            sprt: Sprt::default(),
            share: Share::default(),
            accusers: Vec::new(),
            offences: Vec::new(),
        }
    }

    pub(super) fn who(&self) -> Who<'_> {
        Who {
            name: &self.name,
            package: self.package.as_deref(),
            groups: &self.groups,
        }
    }

    /// Whether its source id has passed to somebody else.
    pub(super) fn is_renamed(&self, sample: &Sample<'_>) -> bool {
        self.name != *sample.name
    }

    /// Takes over what a panel or the user database says of it.
    pub(super) fn introduce(&mut self, sample: &Sample<'_>) {
        if self.package.as_deref() != sample.package || self.groups != sample.groups {
            self.package = sample.package.map(ToOwned::to_owned);
            self.groups = sample.groups.to_vec();
            self.fit = None;
        }
    }

    /// From now on these rules judge it, with these limits.
    pub(super) fn is_judged_by(&mut self, fit: u32) {
        self.fit = Some(fit);
        self.shut = 0;
    }

    /// Takes the counters for a new beginning. What was known is no evidence any more; offences
    /// stay.
    pub(super) fn begin_afresh(&mut self, totals: Totals, now: Tenths) {
        self.last = values(&totals);
        self.history = History::default();
        self.sprt = Sprt::default();
        self.watched_since = now;
    }

    /// Forgets what no window reaches any more.
    pub(super) fn expire(&mut self, plan: &Plan, now: Tenths) {
        self.history.advance(&plan.shape, now, &self.counts);
    }

    /// Takes in counters and replies, and tells which rule they bring about, if any.
    pub(super) fn weigh(
        &mut self,
        scales: &Scales<'_>,
        sample: &Sample<'_>,
        told: &[Told],
    ) -> Option<Finding> {
        let counted = values(&sample.totals);
        let Some(mut growth) = growth(&counted, &self.last) else {
            self.begin_afresh(sample.totals, scales.now);
            return None;
        };
        if told.is_empty() && growth == STILL {
            return None;
        }
        self.last = counted;
        if sample.verdict.is_some() {
            leave_denied_out(&mut growth);
        }
        self.listen(scales, &mut growth, told);
        if sample.known != Fields::ALL {
            for counter in Counter::ALL {
                if !sample.known.has(counter) {
                    growth[counter as usize] = 0;
                }
            }
        }
        self.record(scales, &growth);
        let outcomes = outcomes(&growth, sample.known);
        self.sprt.weigh(scales.test, scales.now, outcomes);
        self.find(scales, sample)
    }

    /// Counts what servers meant.
    fn listen(&mut self, scales: &Scales<'_>, growth: &mut Growth, told: &[Told]) {
        let now = scales.now;
        for told in told {
            if let Some(weight) = told.weight {
                self.share
                    .add(&scales.policy.risk, told.sent_from, weight, now);
            }
            let Some(meaning) = told.meaning else {
                continue;
            };
            if meaning.is_accusation() && !self.is_news(told.server, now) {
                continue;
            }
            growth[meaning.counter() as usize] += 1;
        }
    }

    /// Whether a server has not accused it already within the hour.
    fn is_news(&mut self, server: IpAddr, now: Tenths) -> bool {
        self.accusers
            .retain(|(_, at)| now.saturating_sub(*at) < SAME);
        if self.accusers.iter().any(|(known, _)| *known == server) {
            return false;
        }
        if self.accusers.len() == SERVERS {
            self.accusers.remove(0);
        }
        self.accusers.push((server, now));
        true
    }

    fn record(&mut self, scales: &Scales<'_>, growth: &Growth) {
        let (plan, now) = (scales.plan, scales.now);
        self.history.advance(&plan.shape, now, &self.counts);
        let columns = plan.columns.iter();
        if columns.clone().all(|column| growth[*column as usize] == 0) {
            return;
        }
        let mut before = [0; Counter::ALL.len()];
        let before = &mut before[..self.counts.len()];
        before.copy_from_slice(&self.counts);
        for ((count, column), opens) in self.counts.iter_mut().zip(columns).zip(&plan.opens) {
            let grown = growth[*column as usize];
            *count = count.wrapping_add(grown);
            if grown > 0 {
                self.shut &= !opens;
            }
        }
        self.history.record(&plan.shape, now, before);
    }

    fn past<'a>(&'a self, scales: &Scales<'a>, known: Fields, factor: f64) -> Past<'a> {
        Past {
            shape: &scales.plan.shape,
            history: &self.history,
            counts: &self.counts,
            spent: None,
            known,
            watched: scales.now.saturating_sub(self.watched_since),
            factor,
        }
    }

    /// The rule that asks for the gravest action; of several the first.
    fn find(&mut self, scales: &Scales<'_>, sample: &Sample<'_>) -> Option<Finding> {
        let (rules, factor) = scales.plan.judging(self.fit?);
        let mut best: Option<(&PlannedRule, Sentence)> = None;
        for rule in rules {
            if self.shut & rule.gate() != 0 {
                continue;
            }
            let offence = self.offences.iter().find(|known| known.rule == rule.index);
            let past = Past {
                spent: offence.and_then(|offence| offence.spent.as_deref()),
                ..self.past(scales, sample.known, factor)
            };
            if rule.is_shut(&past) {
                self.shut |= rule.gate();
                continue;
            }
            if !rule.is_met(&past)
                || rule.asks_likelihood && !self.sprt.is_bad(scales.test, scales.now)
            {
                continue;
            }
            let sentence = self.sentence(scales, rule.index);
            let gravity = |sentence: Sentence| sentence.action.map(|action| action.name());
            let asked = gravity(sentence);
            let in_force = sample.verdict.map(|verdict| verdict.action);
            if in_force.is_some() && asked <= in_force {
                continue;
            }
            if best.is_none_or(|(_, best)| asked > gravity(best)) {
                best = Some((rule, sentence));
            }
        }
        let (rule, sentence) = best?;
        Some(self.offend(scales, sample, rule, sentence, factor))
    }

    fn sentence(&self, scales: &Scales<'_>, rule: usize) -> Sentence {
        let ladder = &scales.policy.rules[rule].ladder;
        let known = self.offences.iter().find(|known| known.rule == rule);
        let count = known.cloned().map_or(0, |mut offence| {
            offence.forgive(ladder, scales.now);
            offence.count
        });
        let settings = &scales.policy.risk;
        let sooner = self.share.is_felt(settings, scales.risks, scales.now);
        sentence(ladder, count, sooner)
    }

    /// Notes an offence: what led to it is spent.
    fn offend(
        &mut self,
        scales: &Scales<'_>,
        sample: &Sample<'_>,
        rule: &PlannedRule,
        sentence: Sentence,
        factor: f64,
    ) -> Finding {
        let now = scales.now;
        let spent = self.counts.clone();
        let known = self
            .offences
            .iter()
            .position(|known| known.rule == rule.index);
        let before = known.map(|known| self.offences.swap_remove(known));
        let past = Past {
            spent: before.as_ref().and_then(|before| before.spent.as_deref()),
            ..self.past(scales, sample.known, factor)
        };
        let finding = Finding {
            source: sample.source,
            name: self.name.clone(),
            class: sample.class,
            rule: scales.policy.rules[rule.index].name.clone(),
            step: sentence.step,
            action: sentence.action,
            duration: sentence.duration,
            observations: rule.observations(&past),
            likelihood: self.sprt.likelihood(scales.test, now),
        };
        let lasts = super::clock::tenths(sentence.duration);
        self.offences.push(Offence {
            rule: rule.index,
            count: sentence.step.offence,
            good_since: When::from(now) + When::from(lasts),
            spent: Some(spent),
        });
        if rule.asks_likelihood {
            self.sprt.begin_afresh(now);
        }
        finding
    }

    /// Goes over to another plan: `rules` tells for each old rule its new place, if it has one, and
    /// `columns` for each new counter its old place.
    pub(super) fn replan(
        &mut self,
        (old, new): (&Plan, &Plan),
        rules: &[Option<usize>],
        columns: &[Option<usize>],
        now: Tenths,
    ) {
        self.fit = None;
        self.offences.retain_mut(|offence| {
            let place = rules.get(offence.rule).copied().flatten();
            offence.rule = place.unwrap_or_default();
            let spent = offence.spent.as_deref();
            offence.spent = spent.map(|counts| rearranged(counts, columns).into());
            place.is_some()
        });
        if old.shape == new.shape && old.columns == new.columns {
            return;
        }
        self.history = self
            .history
            .reshaped((&old.shape, &new.shape), columns, &self.counts);
        self.counts = rearranged(&self.counts, columns).into();
        let reaches_further = new.shape.longest() > old.shape.longest();
        if reaches_further || columns.contains(&None) {
            self.watched_since = now;
        }
    }
}

/// Growth by [`Counter`].
type Growth = [u32; Counter::ALL.len()];

/// Nothing grew.
const STILL: Growth = [0; Counter::ALL.len()];

/// How much each counter grew; none if one went backwards, which the kernel's counters never do.
fn growth(counted: &Values, before: &Values) -> Option<Growth> {
    let mut growth = [0; Counter::ALL.len()];
    for ((grown, now), before) in growth.iter_mut().zip(counted).zip(before) {
        *grown = u32::try_from(now.checked_sub(*before)?).unwrap_or(u32::MAX);
    }
    Some(growth)
}

/// While a verdict is in force, what it refuses is tried again, which says nothing new.
fn leave_denied_out(growth: &mut Growth) {
    let denied = growth[Counter::Denied as usize];
    let passed = growth[Counter::Attempts as usize].saturating_sub(denied);
    growth[Counter::Attempts as usize] = passed;
    let contacts = &mut growth[Counter::Destinations as usize];
    *contacts = passed.min(*contacts);
}

/// What the sequential test makes of growth.
fn outcomes(growth: &Growth, known: Fields) -> Outcomes {
    let of = |counter: Counter| growth[counter as usize];
    let sum = |a, b| of(a).saturating_add(of(b));
    let sees_success = known.has(Counter::Messages) && known.has(Counter::Encrypted);
    // Greylisting is what every unknown sender meets.
    let later = of(Counter::Later).saturating_sub(of(Counter::Greylisted));
    Outcomes {
        contacts: of(Counter::Destinations),
        accepted: known
            .has(Counter::Established)
            .then(|| of(Counter::Established)),
        good: if sees_success {
            sum(Counter::Messages, Counter::Encrypted)
        } else {
            of(Counter::Established)
        },
        rejected: later.saturating_add(of(Counter::Never)),
        failed: sum(Counter::Refused, Counter::TimedOut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_as_small_as_promised() {
        // With a name of 32 bytes and ten counters: what docs/policy.md says.
        assert!(
            size_of::<Account>() + 32 + 40 <= 600,
            "{}",
            size_of::<Account>()
        );
    }
}
