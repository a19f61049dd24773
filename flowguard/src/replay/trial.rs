//! One policy on trial.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    config::Config,
    control::api::{ActionName, Hit},
    kernel::offline::full_name,
    model::{ClassName, SourceName, Totals},
    policy::{Engine, Fields, Finding, Heard, RuleAction, Sample, Standing},
    store,
};

/// A source in a class.
type Key = (u32, ClassName);

/// Most times that one reply within one minute counts: each server counts once an hour anyway.
const REPLIES: u32 = 100;

/// What is known of a source.
#[derive(Debug)]
struct Source {
    name: SourceName,
    package: Option<String>,
    exempt: bool,
}

/// What a source has done in a class so far.
#[derive(Clone, Copy, Debug)]
struct Account {
    totals: Totals,
    known: Fields,
}

/// A policy, and what it makes of the past.
#[derive(Debug)]
pub struct Trial<'c> {
    config: &'c Config,
    engine: Engine,
    sources: Vec<Source>,
    ids: HashMap<SourceName, u32>,
    accounts: BTreeMap<Key, Account>,
    /// Whom the engine has to see at the next tick.
    changed: BTreeSet<Key>,
    /// Verdicts that would be in force, and until when, seconds since 1970.
    standing: BTreeMap<Key, (ActionName, i64)>,
    hits: Vec<Hit>,
    /// When the trial began, seconds since 1970; none: not yet.
    begun: Option<i64>,
}

impl<'c> Trial<'c> {
    /// A trial of what a configuration says.
    pub fn new(config: &'c Config) -> Self {
        Self {
            config,
            engine: Engine::new(config.judgement.clone()),
            sources: Vec::new(),
            ids: HashMap::new(),
            accounts: BTreeMap::new(),
            changed: BTreeSet::new(),
            standing: BTreeMap::new(),
            hits: Vec::new(),
            begun: None,
        }
    }

    /// What is on trial.
    pub fn config(&self) -> &'c Config {
        self.config
    }

    /// The shortest window of a rule, seconds; at least one.
    pub fn shortest_window(&self) -> i64 {
        let rules = self.config.judgement.rules.iter();
        let windows = rules.flat_map(|rule| rule.when.iter().map(|condition| condition.within));
        let shortest = windows.filter(|window| !window.is_zero()).min();
        let shortest = shortest.map_or(i64::MAX, |window| {
            i64::try_from(window.as_secs()).unwrap_or(i64::MAX)
        });
        shortest.max(1)
    }

    /// The number of a source.
    pub fn source(&mut self, name: &SourceName, package: Option<&str>) -> u32 {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
        self.ids.insert(name.clone(), id);
        self.sources.push(Source {
            name: name.clone(),
            package: package.map(str::to_owned),
            exempt: self.config.exempt(name).is_some() || name.is_cgroup_path(),
        });
        id
    }

    /// Notes that a source did more.
    pub fn add(&mut self, source: u32, class: ClassName, more: Totals, known: Fields) {
        let account = self.accounts.entry((source, class)).or_insert(Account {
            totals: Totals::default(),
            known: Fields::NONE,
        });
        account.totals += more;
        account.known = account.known.union(known);
        self.changed.insert((source, class));
    }

    /// Notes what a mail server said to a source.
    pub fn hear(&mut self, source: u32, heard: &store::Heard) {
        for _ in 0..heard.count.min(REPLIES) {
            self.engine.hear(Heard {
                source,
                class: heard.class,
                server: heard.said.server,
                text: &heard.said.text,
                sent_from: heard.said.sent_from,
            });
        }
        if self.accounts.contains_key(&(source, heard.class)) {
            self.changed.insert((source, heard.class));
        }
    }

    /// Begins, if it has not: whatever is noted from now on was done after this moment.
    pub fn begin(&mut self, at: i64) {
        if self.begun.is_none() {
            self.begun = Some(at);
            self.engine.tick(Duration::ZERO, []);
        }
    }

    /// Weighs what was noted since the last time, at this moment, seconds since 1970.
    pub fn tick(&mut self, at: i64) {
        let over = self.standing.iter().filter(|(_, (_, until))| *until <= at);
        let over: Vec<Key> = over.map(|(key, _)| *key).collect();
        for key in over {
            self.standing.remove(&key);
            self.changed.insert(key);
        }
        if self.changed.is_empty() {
            return;
        }
        let begun = *self.begun.get_or_insert(at);
        let wall = Timestamp::from_second(at).unwrap_or(Timestamp::MAX);
        self.engine.end_overrides(wall);
        let since = u64::try_from(at.saturating_sub(begun)).unwrap_or(0);
        let (sources, accounts, standing) = (&self.sources, &self.accounts, &self.standing);
        let samples = self.changed.iter().filter_map(|key| {
            let source = sources.get(key.0 as usize)?;
            let account = accounts.get(key)?;
            Some(Sample {
                source: key.0,
                name: &source.name,
                class: key.1,
                totals: account.totals,
                known: account.known,
                exempt: source.exempt,
                verdict: standing.get(key).map(|(action, _)| Standing {
                    action: *action,
                    by_hand: false,
                }),
                package: source.package.as_deref(),
                groups: &[],
            })
        });
        let found = self.engine.tick(Duration::from_secs(since), samples);
        self.changed.clear();
        for finding in found {
            self.note(finding, at, wall);
        }
    }

    fn note(&mut self, finding: Finding, at: i64, wall: Timestamp) {
        let key = (finding.source, finding.class);
        let action = finding.action.map_or(ActionName::Notice, RuleAction::name);
        if action != ActionName::Notice {
            let seconds = i64::try_from(finding.duration.as_secs()).unwrap_or(i64::MAX);
            self.standing
                .insert(key, (action, at.saturating_add(seconds)));
            self.changed.insert(key);
        }
        self.hits.push(Hit {
            at: wall,
            source: full_name(&finding.name),
            class: finding.class,
            rule: finding.rule,
            step: finding.step.step,
            of: finding.step.of,
            action,
            seconds: finding.duration.as_secs(),
            observations: finding.observations,
        });
    }

    /// How many sources did something, and how many connections they tried.
    pub fn size(&self) -> (u64, u64) {
        let active: BTreeSet<u32> = self.accounts.keys().map(|(source, _)| *source).collect();
        let attempts = self
            .accounts
            .values()
            .map(|account| account.totals.attempts);
        (active.len() as u64, attempts.sum())
    }

    /// What was found, in the order of time.
    pub fn into_hits(self) -> Vec<Hit> {
        self.hits
    }
}
