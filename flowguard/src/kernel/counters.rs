//! Reading what the kernel counted.

use flowguard_common::{
    class::{CLASSES, Class},
    counters::{ClassCounters, Stat},
    names::{MAP_CARRIED, MAP_CARRIED_STATS, MAP_COUNTERS, MAP_STATS},
};

use super::{KernelError, generation::Generation, raw::value_of, sys::Words};
use crate::model::{Replies, Totals};

/// An array of structs of words, mapped into memory. Its elements may be of another version.
#[derive(Debug)]
struct Array {
    id: u32,
    words: Words,
    /// Words of an element.
    size: usize,
}

impl Array {
    fn map(maps: &Generation, name: &'static str) -> Result<Self, KernelError> {
        let map = maps.raw(name)?;
        let size = map.shape.value_size as usize / size_of::<u64>();
        let words =
            Words::map(map.fd(), size * map.shape.max_entries as usize).map_err(|source| {
                KernelError::File {
                    action: "map into memory",
                    path: maps.path(name),
                    source,
                }
            })?;
        Ok(Self {
            id: map.id,
            words,
            size,
        })
    }

    /// An element's bytes; zeros beyond the end.
    fn element(&self, index: usize) -> Vec<u8> {
        let start = index * self.size;
        (start..start + self.size)
            .flat_map(|at| self.words.get(at).unwrap_or(0).to_ne_bytes())
            .collect()
    }
}

/// The counters of registered sources and of the guard itself.
#[derive(Debug)]
pub struct Counters {
    /// Those that programs count in, and what was carried over from their predecessors.
    counters: Vec<Array>,
    /// Likewise.
    stats: Vec<Array>,
    capacity: u32,
}

impl Counters {
    /// Maps the arrays that count; the first set of maps is the one in force.
    ///
    /// # Errors
    ///
    /// They are not there or cannot be mapped.
    pub(super) fn open(maps: &[Generation]) -> Result<Self, KernelError> {
        let capacity = match maps.last() {
            Some(newest) => newest.raw(MAP_COUNTERS)?.shape.max_entries / CLASSES,
            None => 0,
        };
        Ok(Self {
            counters: arrays(maps, MAP_COUNTERS, MAP_CARRIED)?,
            stats: arrays(maps, MAP_STATS, MAP_CARRIED_STATS)?,
            capacity,
        })
    }

    /// Sources there is room for.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// What was counted of a source in a class; zeros for an id out of range.
    pub fn read(&self, source: u32, class: Class) -> ClassCounters {
        let index = class.index(source) as usize;
        let mut sum = ClassCounters::default();
        for array in &self.counters {
            add(&mut sum, &value_of(&array.element(index)));
        }
        sum
    }

    /// What the programs count about themselves.
    pub fn stat(&self, stat: Stat) -> u64 {
        let words = self
            .stats
            .iter()
            .map(|array| array.words.get(stat as usize));
        words.map(|word| word.unwrap_or(0)).sum()
    }
}

/// The arrays of that name, each once, and what the first set of maps was carried.
fn arrays(
    maps: &[Generation],
    counted: &'static str,
    carried: &'static str,
) -> Result<Vec<Array>, KernelError> {
    let mut arrays: Vec<Array> = Vec::new();
    for generation in maps {
        let array = Array::map(generation, counted)?;
        if !arrays.iter().any(|known| known.id == array.id) {
            arrays.push(array);
        }
    }
    if let Some(first) = maps.first()
        && first.path(carried).exists()
    {
        arrays.push(Array::map(first, carried)?);
    }
    Ok(arrays)
}

/// Adds counters.
pub(super) fn add(to: &mut ClassCounters, more: &ClassCounters) {
    to.attempts += more.attempts;
    to.denied += more.denied;
    to.would_deny += more.would_deny;
    to.destinations += more.destinations;
    to.retransmits += more.retransmits;
    to.established += more.established;
    to.refused += more.refused;
    to.timed_out += more.timed_out;
    to.redirected += more.redirected;
    to.bytes += more.bytes;
    for (to, more) in to.replies.iter_mut().zip(more.replies) {
        *to += more;
    }
    to.messages += more.messages;
    to.encrypted += more.encrypted;
    to.open_ms += more.open_ms;
    to.plain += more.plain;
    to.last_seen_ns = to.last_seen_ns.max(more.last_seen_ns);
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
            plain: counters.plain,
            open_ms: counters.open_ms,
        }
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
