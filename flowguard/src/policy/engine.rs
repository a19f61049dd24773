//! Weighs every source against the rules, once a tick.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    mem,
    time::Duration,
};

use super::{
    evidence::{Heard, Origin, Sample},
    finding::{Conduct, Finding, StepInfo},
    history::{Counts, Window},
    measure::Kind,
    rule::{Bound, Rule},
    settings::Policy,
};
use crate::{
    control::api,
    model::{ClassName, SourceName},
};

/// A source in a class.
type Key = (u32, ClassName);

/// The last sample of a source in a class.
#[derive(Debug)]
struct Reading {
    name: SourceName,
    counts: Counts,
    /// Whether it was exempt or under a verdict.
    unjudged: bool,
    tick: u64,
}

/// The engine: rules, and the past they are weighed on.
///
/// # What counts as evidence
///
/// Growth of the counters from one tick to the next, unless
///
/// - it is the engine's first tick: nobody knows how old the counters are that it finds;
/// - the source is or was until this tick exempt or under a verdict: what is refused is tried
///   again, which says nothing new, and somebody whose verdict has ended starts afresh;
/// - a counter went backwards, as it does when the guard is detached and attached again, or the
///   source id has passed to another name.
///
/// In these cases the counters are only noted, to be the baseline of the next tick, and what was
/// known is forgotten. Everything that a source has done when it first appears in a later tick is
/// growth since the tick before.
///
/// # Memory
///
/// For each window of the rules of a class, a history of at most 65 entries for each source that
/// was active within it; and the last reading of every source ever offered, which stays, so that
/// a source that returns after a long silence is not taken for one that did it all at once.
/// Source ids are dense, so there are never more than the kernel has room for.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    readings: HashMap<Key, Reading>,
    histories: HashMap<Key, Vec<Window>>,
    /// Number of the tick in progress or last done; 0: none yet.
    tick: u64,
    now: Duration,
}

impl Engine {
    /// An engine that has seen nothing yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            readings: HashMap::new(),
            histories: HashMap::new(),
            tick: 0,
            now: Duration::ZERO,
        }
    }

    /// Replaces the policy. What is known stays known as far as the new windows reach; a window
    /// that is longer than any before it begins with what the longest held.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
        let rules = &self.policy.rules;
        self.histories.retain(|(_, class), history| {
            *history = window_lengths(rules, *class)
                .filter_map(|length| fitting(history, length))
                .collect();
            !history.is_empty()
        });
    }

    /// Takes in a mail server's reply, whose text has been masked. It is to be told before the tick
    /// whose counters it is in.
    pub fn hear(&mut self, _reply: Heard<'_>) {}

    /// A sending address is on a blacklist, or no longer.
    pub fn set_listed(&mut self, _origin: Origin, _listed: bool) {}

    /// Ends the overrides whose time is over at this time of the wall clock, which the engine does
    /// not look at by itself.
    pub fn end_overrides(&mut self, wall: jiff::Timestamp) {
        let lasts = |until: Option<jiff::Timestamp>| until.is_none_or(|until| until > wall);
        self.policy.overrides.retain(|over| lasts(over.until));
    }

    /// What is to be remembered when this engine stops, in the order of names.
    pub fn conduct(&self) -> Vec<Conduct> {
        Vec::new()
    }

    /// Remembers what an earlier engine told by [`Self::conduct`]; the times since are to include
    /// how long no engine ran.
    pub fn restore(&mut self, _conduct: impl IntoIterator<Item = Conduct>) {}

    /// How many pairs of source and class have a history: what was active within a window.
    pub fn histories(&self) -> usize {
        self.histories.len()
    }

    /// Takes the counters at `now`, time since an arbitrary but fixed moment, and tells whom a
    /// rule fits: for each source and class the first such rule, in the order of the samples.
    ///
    /// Every source with a counter above zero is to be offered in every tick; a tick whose
    /// samples could not be read is to be left out. Of several samples for one source and class,
    /// the first counts. Time that goes backwards stands still.
    #[expect(
        single_use_lifetimes,
        reason = "an anonymous lifetime in `impl Trait` is not stable yet"
    )]
    pub fn tick<'a>(
        &mut self,
        now: Duration,
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) -> Vec<Finding> {
        self.now = self.now.max(now);
        self.tick += 1;
        self.forget();
        samples
            .into_iter()
            .filter_map(|sample| self.weigh(&sample))
            .collect()
    }

    /// Drops what no window reaches any more.
    fn forget(&mut self) {
        let now = self.now;
        self.histories.retain(|_, history| {
            for window in &mut *history {
                window.advance(now);
            }
            history.iter().any(|window| !window.is_empty())
        });
    }

    fn weigh(&mut self, sample: &Sample<'_>) -> Option<Finding> {
        let key = (sample.source, sample.class);
        let counts = Counts::from(sample.totals);
        match self.note(key, sample, counts) {
            Growth::Repeated => return None,
            Growth::Unknown => {
                self.histories.remove(&key);
            }
            Growth::Since(before) if before == counts => {}
            Growth::Since(before) => self.record(key, before, counts),
        }
        let history = self.histories.get(&key)?;
        let rules = self.policy.rules.iter();
        let (rule, observations) = rules
            .filter(|rule| rule.class == sample.class && rule.sources.matches(sample.name))
            .find_map(|rule| Some((rule, observations(rule, history)?)))?;
        let step = rule.ladder.steps.first()?;
        Some(Finding {
            source: sample.source,
            name: sample.name.clone(),
            class: sample.class,
            rule: rule.name.clone(),
            step: StepInfo {
                step: 1,
                of: u32::try_from(rule.ladder.steps.len()).unwrap_or(u32::MAX),
                offence: 1,
                sooner: false,
            },
            action: step.action,
            duration: step.duration,
            observations,
            likelihood: None,
        })
    }

    /// Keeps the sample as the last reading and tells what it means.
    fn note(&mut self, key: Key, sample: &Sample<'_>, counts: Counts) -> Growth {
        let unjudged = sample.exempt || sample.verdict.is_some();
        let reading = match self.readings.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(Reading {
                    name: sample.name.clone(),
                    counts,
                    unjudged,
                    tick: self.tick,
                });
                return if unjudged || self.tick == 1 {
                    Growth::Unknown
                } else {
                    Growth::Since(Counts::default())
                };
            }
        };
        if reading.tick == self.tick {
            return Growth::Repeated;
        }
        reading.tick = self.tick;
        let before = mem::replace(&mut reading.counts, counts);
        let was_unjudged = mem::replace(&mut reading.unjudged, unjudged);
        if reading.name != *sample.name {
            reading.name = sample.name.clone();
            return Growth::Unknown;
        }
        if unjudged || was_unjudged || counts.went_backwards(before) {
            Growth::Unknown
        } else {
            Growth::Since(before)
        }
    }

    fn record(&mut self, key: Key, before: Counts, counts: Counts) {
        let history = self.histories.entry(key).or_insert_with(|| {
            window_lengths(&self.policy.rules, key.1)
                .map(|length| Window::new(length, before))
                .collect()
        });
        if history.is_empty() {
            // No rule judges this class.
            self.histories.remove(&key);
            return;
        }
        for window in history {
            window.record(self.now, counts);
        }
    }
}

/// What was seen, if it meets all conditions of a rule.
fn observations(rule: &Rule, history: &[Window]) -> Option<Vec<api::Observation>> {
    let seen = rule.when.iter().map(|condition| {
        let window = history
            .iter()
            .find(|window| window.length() == condition.within)?;
        let (Kind::Count(counters), Bound::AtLeast(limit)) =
            (condition.what.kind(), condition.bound)
        else {
            return None;
        };
        let seen = window.seen();
        let value = counters
            .iter()
            .map(|counter| seen.of(*counter))
            .sum::<u64>() as f64;
        (value >= limit).then(|| api::Observation {
            what: condition.what.name().to_owned(),
            value,
            limit,
            bound: api::Bound::AtLeast,
            of: None,
            window_seconds: condition.within.as_secs(),
            before_seconds: 0,
        })
    });
    seen.collect()
}

/// What a sample tells about the time since the one before.
enum Growth {
    /// Nothing: there was one in this tick already.
    Repeated,
    /// The counters are new evidence only from here on.
    Unknown,
    /// They stood here at the tick before.
    Since(Counts),
}

/// The windows that the rules of a class look at, each once.
fn window_lengths(rules: &[Rule], class: ClassName) -> impl Iterator<Item = Duration> {
    rules
        .iter()
        .filter(move |rule| rule.class == class)
        .flat_map(|rule| rule.when.iter().map(|condition| condition.within))
        .collect::<BTreeSet<_>>()
        .into_iter()
}

/// A window of this length from the past that others hold: from the shortest one that reaches
/// as far back, or else from the longest.
fn fitting(history: &[Window], length: Duration) -> Option<Window> {
    let source = history
        .iter()
        .filter(|window| window.length() >= length)
        .min_by_key(|window| window.length())
        .or_else(|| history.iter().max_by_key(|window| window.length()))?;
    Some(if source.length() == length {
        source.clone()
    } else {
        source.resized(length)
    })
}
