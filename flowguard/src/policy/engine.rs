//! Weighs every source against the rules, once a tick.

use std::{collections::BTreeMap, mem, time::Duration};

use flowguard_common::class::{CLASSES, Class};

use super::{
    account::{Account, Scales, Told},
    clock::{Clock, Tenths, duration, tenths},
    evidence::{Heard, Origin, Sample},
    finding::{Conduct, Finding},
    offence::{Offence, When},
    plan::Plan,
    risk::{Risk, Risks, Weight},
    settings::Policy,
    sprt::Test,
    words::Meaning,
};
use crate::model::{ClassName, SourceName, Totals};

/// Source ids from here on are not weighed. The kernel's are below `kernel.max_sources`, which is
/// at most a million.
pub const MAX_SOURCE: u32 = 1 << 22;

/// No account.
const NONE: u32 = u32::MAX;

/// Part of the accounts whose past is looked through for what no window reaches, every tick.
const SWEPT: usize = 64;

/// The engine: a policy, and the past it is weighed on.
///
/// # What counts as evidence
///
/// Growth of the counters from one tick to the next, unless
///
/// - it is the engine's first tick: nobody knows how old the counters are that it finds;
/// - the source is or was until this tick exempt, or under a verdict that is not mild: what is
///   refused is tried again, which says nothing new, and somebody whose verdict has ended starts
///   afresh;
/// - a counter went backwards, as it does when the guard is detached and attached again, or the
///   source id has passed to another name.
///
/// In these cases the counters are only noted, to be the baseline of the next tick, and what was
/// known is forgotten. Everything that a source has done when it first appears in a later tick is
/// growth since the tick before. A rule that has been fulfilled needs new evidence to be fulfilled
/// again, even while a mild verdict is in force; what that verdict refuses is none.
///
/// Nothing is ever found of a source that did nothing since the last tick.
///
/// # Memory
///
/// About 600 bytes for every pair of source and class that was ever offered, and besides for those
/// that did something within the longest window what `history.rs` tells.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    plans: [Plan; CLASSES as usize],
    test: Test,
    clock: Clock,
    /// Number of the tick in progress or last done; 0: none yet.
    tick: u32,
    /// For each source and class the place of its account.
    index: Vec<[u32; CLASSES as usize]>,
    accounts: Vec<Account>,
    /// How far the past has been looked through.
    swept: usize,
    /// Replies since the last tick.
    heard: BTreeMap<(u32, ClassName), Vec<Told>>,
    risks: Risks,
    /// Offences of those that have no account (yet), by the names of the rules.
    remembered: BTreeMap<(SourceName, ClassName), Vec<(String, Offence)>>,
}

impl Engine {
    /// An engine that has seen nothing yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            plans: plans(&policy),
            test: Test::new(&policy.sprt),
            policy,
            clock: Clock::default(),
            tick: 0,
            index: Vec::new(),
            accounts: Vec::new(),
            swept: 0,
            heard: BTreeMap::new(),
            risks: Risks::default(),
            remembered: BTreeMap::new(),
        }
    }

    /// The policy in force, without the overrides that have ended.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Replaces the policy. What is known stays known as far as the new windows reach; a window
    /// that is longer than any before it begins with what the longest held. Offences stay with
    /// rules that keep their name.
    pub fn set_policy(&mut self, policy: Policy) {
        let new_plans = plans(&policy);
        let place = |rule: &super::Rule| policy.rules.iter().position(|new| new.name == rule.name);
        let rules: Vec<_> = self.policy.rules.iter().map(place).collect();
        let now = self.clock.now();
        let columns = Class::ALL.map(|class| {
            let (old, new) = (&self.plans[class as usize], &new_plans[class as usize]);
            let place = |column| old.columns.iter().position(|known| known == column);
            new.columns.iter().map(place).collect::<Vec<_>>()
        });
        for account in &mut self.accounts {
            let class = Class::from(account.class) as usize;
            let plans = (&self.plans[class], &new_plans[class]);
            account.replan(plans, &rules, &columns[class], now);
        }
        self.test = Test::new(&policy.sprt);
        self.plans = new_plans;
        self.policy = policy;
    }

    /// Takes in a mail server's reply, whose text has been masked. It is to be told before the tick
    /// whose counters it is in.
    pub fn hear(&mut self, reply: Heard<'_>) {
        let settings = &self.policy.risk;
        let meaning = Meaning::of(reply.text);
        let weight = Weight::of(settings, meaning);
        if let Some(weight) = weight {
            self.risks
                .add(settings, reply.sent_from, weight, self.clock.now());
        }
        let told = self.heard.entry((reply.source, reply.class)).or_default();
        told.push(Told {
            server: reply.server,
            meaning,
            sent_from: reply.sent_from,
            weight,
        });
    }

    /// A sending address is on a blacklist, or no longer.
    pub fn set_listed(&mut self, origin: Origin, listed: bool) {
        self.risks.set_listed(origin, listed);
    }

    /// The risks of all sending addresses of which anything is known, as of the last tick.
    pub fn risks(&self) -> Vec<Risk> {
        self.risks.all(&self.policy.risk, self.clock.now())
    }

    /// Ends the overrides whose time is over at this time of the wall clock, which the engine does
    /// not look at by itself.
    pub fn end_overrides(&mut self, wall: jiff::Timestamp) {
        let before = self.policy.overrides.len();
        let lasts = |until: Option<jiff::Timestamp>| until.is_none_or(|until| until > wall);
        self.policy.overrides.retain(|over| lasts(over.until));
        if self.policy.overrides.len() < before {
            for account in &mut self.accounts {
                account.fit = None;
            }
        }
    }

    /// What is to be remembered when this engine stops, in the order of names.
    pub fn conduct(&self) -> Vec<Conduct> {
        let now = When::from(self.clock.now());
        let rules = &self.policy.rules;
        let mut all: Vec<Conduct> = Vec::new();
        let mut tell = |name: &SourceName, class, rule: &str, offence: &Offence| {
            let ladder = rules.iter().find(|known| known.name == rule);
            let mut offence = offence.clone();
            if let Some(rule) = ladder {
                offence.forgive(&rule.ladder, self.clock.now());
            }
            if offence.count > 0 {
                let since = Tenths::try_from(now - offence.good_since).unwrap_or(0);
                all.push(Conduct {
                    name: name.clone(),
                    class,
                    rule: rule.to_owned(),
                    offences: offence.count,
                    since: duration(since),
                });
            }
        };
        for account in &self.accounts {
            for offence in &account.offences {
                tell(
                    &account.name,
                    account.class,
                    &rules[offence.rule].name,
                    offence,
                );
            }
        }
        for ((name, class), offences) in &self.remembered {
            for (rule, offence) in offences {
                tell(name, *class, rule, offence);
            }
        }
        all.sort_by(|a, b| (&a.name, a.class, &a.rule).cmp(&(&b.name, b.class, &b.rule)));
        all
    }

    /// Remembers what an earlier engine told by [`Self::conduct`]; the times since are to include
    /// how long no engine ran. To be called before the first tick.
    pub fn restore(&mut self, conduct: impl IntoIterator<Item = Conduct>) {
        let now = When::from(self.clock.now());
        for conduct in conduct {
            let offence = Offence {
                rule: 0,
                count: conduct.offences,
                good_since: now - When::from(tenths(conduct.since)),
                spent: None,
            };
            let of_source = self.remembered.entry((conduct.name, conduct.class));
            of_source.or_default().push((conduct.rule, offence));
        }
    }

    /// Takes the counters at `now`, time since an arbitrary but fixed moment, and tells whom a
    /// rule fits: for each source and class the rule that asks for the gravest action, of several
    /// the first, in the order of the samples.
    ///
    /// A source that did nothing since the last tick, and to which neither an exemption nor a
    /// verdict came or went, may be left out, except of the first tick; a tick whose samples could
    /// not be read is to be left out as a whole. Of several samples for one source and class, the
    /// first counts. Time that goes backwards stands still.
    #[expect(
        single_use_lifetimes,
        reason = "an anonymous lifetime in `impl Trait` is not stable yet"
    )]
    pub fn tick<'a>(
        &mut self,
        now: Duration,
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) -> Vec<Finding> {
        let is_first = self.clock.advance(now);
        self.tick += 1;
        self.forget();
        let mut heard = mem::take(&mut self.heard);
        let mut findings = Vec::new();
        for sample in samples {
            let told = if heard.is_empty() {
                Vec::new()
            } else {
                let told = heard.remove(&(sample.source, sample.class));
                told.unwrap_or_default()
            };
            findings.extend(self.weigh(&sample, &told, is_first));
        }
        findings
    }

    /// How many pairs of source and class did something within their longest window.
    #[cfg(test)]
    pub(super) fn active(&self) -> usize {
        let reached = |account: &&Account| {
            let longest = self.plans[Class::from(account.class) as usize]
                .shape
                .longest();
            let latest = account.history.latest();
            latest.is_some_and(|latest| latest + longest > self.clock.now())
        };
        self.accounts.iter().filter(reached).count()
    }

    /// Drops what no window reaches any more, a part of it at a time.
    fn forget(&mut self) {
        let now = self.clock.now();
        let end = (self.swept + self.accounts.len() / SWEPT + 1).min(self.accounts.len());
        for account in &mut self.accounts[self.swept..end] {
            let plan = &self.plans[Class::from(account.class) as usize];
            account.expire(plan, now);
        }
        self.swept = if end == self.accounts.len() { 0 } else { end };
        if self.swept == 0 {
            self.risks.forget(&self.policy.risk, now);
            let rules = &self.policy.rules;
            self.remembered.retain(|_, offences| {
                offences.retain_mut(|(name, offence)| {
                    let rule = rules.iter().find(|rule| rule.name == *name);
                    rule.is_some_and(|rule| offence.forgive(&rule.ladder, now))
                });
                !offences.is_empty()
            });
        }
    }

    fn weigh(&mut self, sample: &Sample<'_>, told: &[Told], is_first: bool) -> Option<Finding> {
        let class = Class::from(sample.class) as usize;
        let now = self.clock.now();
        let place = self.account(sample, is_first)?;
        let account = &mut self.accounts[place];
        if account.tick == self.tick {
            return None;
        }
        account.tick = self.tick;
        let unjudged = sample.exempt || sample.verdict.is_some_and(|verdict| !verdict.is_mild());
        let was_unjudged = mem::replace(&mut account.unjudged, unjudged);
        if account.is_renamed(sample) {
            self.rename(place, sample);
            return None;
        }
        if unjudged || was_unjudged {
            account.begin_afresh(sample.totals, now);
            return None;
        }
        account.introduce(sample);
        if account.fit.is_none() {
            let fit = self.plans[class].fit(&self.policy, account.who());
            account.is_judged_by(fit);
        }
        let scales = Scales {
            policy: &self.policy,
            plan: &self.plans[class],
            test: &self.test,
            risks: &self.risks,
            now,
        };
        account.weigh(&scales, sample, told)
    }

    /// The place of a sample's account, which begins with it if there is none; none if its source
    /// is out of range.
    fn account(&mut self, sample: &Sample<'_>, is_first: bool) -> Option<usize> {
        if sample.source >= MAX_SOURCE {
            return None;
        }
        let (source, class) = (sample.source as usize, Class::from(sample.class) as usize);
        if self.index.len() <= source {
            self.index.resize(source + 1, [NONE; CLASSES as usize]);
        }
        let place = self.index[source][class];
        if place != NONE {
            return Some(place as usize);
        }
        // Whoever appears later did nothing from the first tick on.
        let last = if is_first {
            sample.totals
        } else {
            Totals::default()
        };
        let account = self.open(sample, last, 0);
        self.index[source][class] = u32::try_from(self.accounts.len()).ok()?;
        self.accounts.push(account);
        Some(self.accounts.len() - 1)
    }

    /// A new account, with what is remembered of its name.
    fn open(&mut self, sample: &Sample<'_>, last: Totals, watched_since: Tenths) -> Account {
        let class = Class::from(sample.class) as usize;
        let columns = self.plans[class].columns.len();
        let mut account = Account::new(sample, last, columns, watched_since);
        let remembered = self.remembered.remove(&(sample.name.clone(), sample.class));
        for (rule, offence) in remembered.into_iter().flatten() {
            if let Some(place) = self
                .policy
                .rules
                .iter()
                .position(|known| known.name == rule)
            {
                account.offences.push(Offence {
                    rule: place,
                    ..offence
                });
            }
        }
        account
    }

    /// The source id has passed to somebody else; whose it was is remembered.
    fn rename(&mut self, place: usize, sample: &Sample<'_>) {
        let mut account = self.open(sample, sample.totals, self.clock.now());
        account.tick = self.tick;
        account.unjudged = self.accounts[place].unjudged;
        let old = mem::replace(&mut self.accounts[place], account);
        if old.offences.is_empty() {
            return;
        }
        let rules = &self.policy.rules;
        let offences = old.offences.into_iter().map(|offence| {
            let rule = rules[offence.rule].name.clone();
            (
                rule,
                Offence {
                    spent: None,
                    ..offence
                },
            )
        });
        self.remembered
            .insert((old.name, sample.class), offences.collect());
    }
}

fn plans(policy: &Policy) -> [Plan; CLASSES as usize] {
    Class::ALL.map(|class| Plan::new(policy, class.into()))
}
