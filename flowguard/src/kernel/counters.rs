//! Reading what the kernel counted.

use std::collections::HashMap;

use aya::maps::{HashMap as BpfHashMap, MapData, MapError};
use flowguard_common::{
    class::{CLASSES, Class},
    counters::{ClassCounters, STATS, Stat},
    names::{MAP_COUNTERS, MAP_FALLBACK, MAP_STATS},
    source::{FallbackEntry, FallbackKey},
};

use super::{Identity, KernelError, Pins, sys::Words};
use crate::model::{Replies, Totals};

const WORDS: usize = size_of::<ClassCounters>() / size_of::<u64>();

/// The counters of registered sources and of the guard itself, mapped into memory.
#[derive(Debug)]
pub struct Counters {
    counters: Words,
    stats: Words,
    capacity: u32,
}

impl Counters {
    /// Maps the pinned arrays.
    ///
    /// # Errors
    ///
    /// They are not there or cannot be mapped.
    pub fn open(pins: &Pins) -> Result<Self, KernelError> {
        let elements = pins.capacity(MAP_COUNTERS)?;
        Ok(Self {
            counters: map(pins, MAP_COUNTERS, elements as usize * WORDS)?,
            stats: map(pins, MAP_STATS, STATS as usize)?,
            capacity: elements / CLASSES,
        })
    }

    /// Sources there is room for.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// What was counted of a source in a class; zeros for an id out of range.
    pub fn read(&self, source: u32, class: Class) -> ClassCounters {
        let start = class.index(source) as usize * WORDS;
        let word = |index: usize| self.counters.get(start + index).unwrap_or(0);
        // In the order of the fields.
        ClassCounters {
            attempts: word(0),
            denied: word(1),
            would_deny: word(2),
            destinations: word(3),
            retransmits: word(4),
            last_seen_ns: word(5),
            established: word(6),
            refused: word(7),
            timed_out: word(8),
            redirected: word(9),
            bytes: word(10),
            replies: [word(11), word(12), word(13), word(14)],
            messages: word(15),
            encrypted: word(16),
            open_ms: word(17),
            reserved: [0; 6],
        }
    }

    /// What the programs count about themselves.
    pub fn stat(&self, stat: Stat) -> u64 {
        self.stats.get(stat as usize).unwrap_or(0)
    }
}

fn map(pins: &Pins, name: &'static str, words: usize) -> Result<Words, KernelError> {
    let data = pins.data(name).map_err(KernelError::map(name))?;
    Words::map(data.fd(), words).map_err(|source| KernelError::File {
        action: "map into memory",
        path: pins.map(name),
        source,
    })
}

/// Counters of identities that were not registered when they were counted.
#[derive(Debug)]
pub struct Fallback {
    entries: BpfHashMap<MapData, FallbackKey, FallbackEntry>,
    capacity: u32,
}

impl Fallback {
    /// Opens the pinned map.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn open(pins: &Pins) -> Result<Self, KernelError> {
        Ok(Self {
            entries: pins.open(MAP_FALLBACK)?,
            capacity: pins.capacity(MAP_FALLBACK)?,
        })
    }

    /// Entries there is room for.
    pub fn capacity(&self) -> u64 {
        self.capacity.into()
    }

    /// Whether anything was counted of this identity before it was registered. An unreadable map
    /// says yes: nothing may be forgotten then.
    pub fn has(&self, identity: Identity) -> bool {
        let Some((kind, id)) = identity.fallback_key() else {
            return false;
        };
        Class::ALL.iter().any(|class| {
            let class = *class as u32;
            !matches!(
                self.entries.get(&FallbackKey { id, kind, class }, 0),
                Err(MapError::KeyNotFound)
            )
        })
    }

    /// All entries. One that is created meanwhile may be missing; the next reading has it.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn read(&self) -> Result<HashMap<FallbackKey, ClassCounters>, KernelError> {
        self.entries
            .iter()
            .map(|entry| entry.map(|(key, entry)| (key, entry.counters)))
            .collect::<Result<_, _>>()
            .map_err(KernelError::map(MAP_FALLBACK))
    }
}

impl From<ClassCounters> for Totals {
    fn from(counters: ClassCounters) -> Self {
        Self {
            attempts: counters.attempts,
            denied: counters.denied,
            would_deny: counters.would_deny,
            destinations: counters.destinations,
            retransmits: counters.retransmits,
            established: counters.established,
            refused: counters.refused,
            timed_out: counters.timed_out,
            redirected: counters.redirected,
            bytes: counters.bytes,
            replies: counters.replies.into(),
            messages: counters.messages,
            encrypted: counters.encrypted,
            open_ms: counters.open_ms,
        }
    }
}

/// Adds the fields named, each as far as it goes: what comes from a socket may be anything.
macro_rules! add_fields {
    ($to:expr, $more:expr, $($field:ident),+) => {
        $( $to.$field = $to.$field.saturating_add($more.$field); )+
    };
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, more: Self) {
        add_fields!(
            self,
            more,
            attempts,
            denied,
            would_deny,
            destinations,
            retransmits,
            established,
            refused,
            timed_out,
            redirected,
            bytes,
            messages,
            encrypted,
            open_ms
        );
        self.replies += more.replies;
    }
}

impl std::ops::AddAssign for Replies {
    fn add_assign(&mut self, more: Self) {
        add_fields!(self, more, ok, more, later, never);
    }
}

impl From<[u64; 4]> for Replies {
    fn from([ok, more, later, never]: [u64; 4]) -> Self {
        Self {
            ok,
            more,
            later,
            never,
        }
    }
}
