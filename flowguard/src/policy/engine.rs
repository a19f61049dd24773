//! Weighs every source against the rules, once a tick.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    mem,
    time::Duration,
};

use super::{
    history::{Counts, Window},
    rule::{Rule, RuleAction},
};
use crate::{
    control::api::Observation,
    model::{ClassName, SourceName, Totals},
};

/// What one source has done in one class so far.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Source id in the kernel.
    pub source: u32,
    /// Who that is.
    pub name: &'a SourceName,
    /// In which class.
    pub class: ClassName,
    /// Its counters, cumulative.
    pub totals: Totals,
    /// The configuration says never to judge it.
    pub exempt: bool,
    /// A verdict on it is in force in this class, whoever made it and whatever it says.
    pub under_verdict: bool,
}

/// A source that a rule fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Source id in the kernel.
    pub source: u32,
    /// Who that is.
    pub name: SourceName,
    /// In which class.
    pub class: ClassName,
    /// Name of the rule.
    pub rule: String,
    /// What the rule asks for.
    pub action: RuleAction,
    /// For how long.
    pub duration: Duration,
    /// What was seen, one for each minimum of the rule.
    pub observations: Vec<Observation>,
}

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
    rules: Vec<Rule>,
    readings: HashMap<Key, Reading>,
    histories: HashMap<Key, Vec<Window>>,
    /// Number of the tick in progress or last done; 0: none yet.
    tick: u64,
    now: Duration,
}

impl Engine {
    /// An engine that has seen nothing yet.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self {
            rules,
            readings: HashMap::new(),
            histories: HashMap::new(),
            tick: 0,
            now: Duration::ZERO,
        }
    }

    /// Replaces the rules. What is known stays known as far as the new windows reach; a window
    /// that is longer than any before it begins with what the longest held.
    pub fn set_rules(&mut self, rules: Vec<Rule>) {
        self.rules = rules;
        let rules = &self.rules;
        self.histories.retain(|(_, class), history| {
            *history = window_lengths(rules, *class)
                .filter_map(|length| fitting(history, length))
                .collect();
            !history.is_empty()
        });
    }

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
        let (rule, seen) = self.rules.iter().find_map(|rule| {
            let window = history
                .iter()
                .find(|window| rule.class == sample.class && window.length() == rule.window)?;
            let seen = window.seen();
            (rule.is_reached(seen) && rule.sources.matches(sample.name)).then_some((rule, seen))
        })?;
        Some(Finding {
            source: sample.source,
            name: sample.name.clone(),
            class: sample.class,
            rule: rule.name.clone(),
            action: rule.action,
            duration: rule.duration,
            observations: rule.observations(seen),
        })
    }

    /// Keeps the sample as the last reading and tells what it means.
    fn note(&mut self, key: Key, sample: &Sample<'_>, counts: Counts) -> Growth {
        let unjudged = sample.exempt || sample.under_verdict;
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
            window_lengths(&self.rules, key.1)
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
        .map(|rule| rule.window)
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
