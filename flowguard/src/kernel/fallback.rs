//! What was counted of identities that were not registered at that time.

use std::collections::HashMap;

use flowguard_common::{
    class::Class,
    counters::ClassCounters,
    names::{MAP_CARRIED_IDS, MAP_COUNTERS, MAP_FALLBACK, MAP_FANOUT},
    source::FallbackKey,
};

use super::{
    Identity, KernelError, Registry,
    counters::add,
    generation::Generation,
    raw::{RawMap, bytes_of, value_of},
};

/// Where the parts of an entry begin, which grow with the versions: counters, bitmap, and the bucket
/// of the ceiling.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    counters: usize,
    fanout: usize,
}

impl Parts {
    /// Of the entries in a set of maps: the parts have the size that the maps of their own have.
    pub(super) fn of(maps: &Generation) -> Result<Self, KernelError> {
        let size = |name| maps.raw(name).map(|map| map.shape.value_size as usize);
        Ok(Self {
            counters: size(MAP_COUNTERS)?,
            fanout: size(MAP_FANOUT)?,
        })
    }

    /// The counters of an entry.
    pub(super) fn counters<'a>(&self, entry: &'a [u8]) -> &'a [u8] {
        &entry[..self.counters.min(entry.len())]
    }

    /// An entry of another layout with everything but its counters.
    fn without_counters(&self, entry: &[u8], of: &Self) -> Vec<u8> {
        let (fanout, ceiling) = entry
            .get(of.counters..)
            .and_then(|rest| rest.split_at_checked(of.fanout))
            .unwrap_or_default();
        let mut new = vec![0; self.counters];
        new.extend_from_slice(&fanout[..fanout.len().min(self.fanout)]);
        new.resize(self.counters + self.fanout, 0);
        new.extend_from_slice(ceiling);
        new
    }
}

/// Counters of identities that were not registered when they were counted.
#[derive(Debug)]
pub struct Fallback {
    counted: Vec<(RawMap, Parts)>,
    carried: Option<RawMap>,
}

impl Fallback {
    /// Opens the maps that count; the first set is the one in force.
    ///
    /// # Errors
    ///
    /// One is not there.
    pub(super) fn open(maps: &[Generation]) -> Result<Self, KernelError> {
        let mut counted: Vec<(RawMap, Parts)> = Vec::new();
        for generation in maps {
            let map = generation.raw(MAP_FALLBACK)?;
            if !counted.iter().any(|(known, _)| known.id == map.id) {
                counted.push((map, Parts::of(generation)?));
            }
        }
        let carried = match maps.first() {
            Some(first) => first.raw_if_any(MAP_CARRIED_IDS)?,
            None => None,
        };
        Ok(Self { counted, carried })
    }

    fn all(&self) -> impl Iterator<Item = &RawMap> {
        self.counted.iter().map(|(map, _)| map).chain(&self.carried)
    }

    /// Entries there is room for.
    pub fn capacity(&self) -> u64 {
        let newest = self.counted.last();
        newest.map_or(0, |(map, _)| map.shape.max_entries.into())
    }

    /// Whether anything was counted of this identity before it was registered. An unreadable map
    /// says yes: nothing may be forgotten then.
    pub fn has(&self, identity: Identity) -> bool {
        let Some((kind, id)) = identity.fallback_key() else {
            return false;
        };
        Class::ALL.iter().any(|class| {
            let class = *class as u32;
            let key = FallbackKey { id, kind, class };
            self.all()
                .any(|map| !matches!(map.get(bytes_of(&key)), Ok(None)))
        })
    }

    /// All entries. One that is created meanwhile may be missing; the next reading has it.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn read(&self) -> Result<HashMap<FallbackKey, ClassCounters>, KernelError> {
        let mut sums: HashMap<FallbackKey, ClassCounters> = HashMap::new();
        for (map, parts) in &self.counted {
            let entries = map
                .entries()
                .map_err(|source| KernelError::raw(MAP_FALLBACK, source))?;
            for (key, entry) in entries {
                let more = value_of(parts.counters(&entry));
                add(sums.entry(value_of(&key)).or_default(), &more);
            }
        }
        if let Some(map) = &self.carried {
            let entries = map
                .entries()
                .map_err(|source| KernelError::raw(MAP_CARRIED_IDS, source))?;
            for (key, counters) in entries {
                add(
                    sums.entry(value_of(&key)).or_default(),
                    &value_of(&counters),
                );
            }
        }
        Ok(sums)
    }
}

/// The identity that a key is about.
pub(super) fn identity_of(key: &FallbackKey) -> Option<Identity> {
    Identity::from_fallback(key.kind, key.id)
}

/// The class that a key is about.
pub(super) fn class_of(key: &FallbackKey) -> Option<Class> {
    u8::try_from(key.class).ok().and_then(Class::from_u8)
}

/// Who a key leads to by now.
pub(super) fn source_of(registry: &Registry, key: &FallbackKey) -> Option<(u32, Class)> {
    Some((registry.lookup(identity_of(key)?)?, class_of(key)?))
}

/// Gives a new map the entries of those who are still unregistered, with nothing counted: what is
/// known of their destinations and of their ceiling goes on. To be done before a program uses it.
pub(super) fn copy_strangers(old: &Generation, new: &Generation) -> Result<(), KernelError> {
    let (from, to) = (old.raw(MAP_FALLBACK)?, new.raw(MAP_FALLBACK)?);
    if from.id == to.id {
        return Ok(());
    }
    let failed = |source| KernelError::raw(MAP_FALLBACK, source);
    let (old_parts, new_parts) = (Parts::of(old)?, Parts::of(new)?);
    let registry = Registry::open(new)?;
    for (key, entry) in from.entries().map_err(failed)? {
        if source_of(&registry, &value_of(&key)).is_none() {
            let entry = new_parts.without_counters(&entry, &old_parts);
            to.set(&key, &entry).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_another_layout_keeps_what_is_no_counter() {
        let old = Parts {
            counters: 2,
            fanout: 3,
        };
        let entry = [1, 1, 2, 2, 2, 3];
        assert_eq!(old.counters(&entry), [1, 1]);
        let grown = Parts {
            counters: 3,
            fanout: 4,
        };
        assert_eq!(
            grown.without_counters(&entry, &old),
            [0, 0, 0, 2, 2, 2, 0, 3]
        );
        let back = grown.without_counters(&entry, &old);
        assert_eq!(old.without_counters(&back, &grown), [0, 0, 2, 2, 2, 3]);
        // Whatever a map holds.
        assert_eq!(grown.without_counters(&[1], &old), [0; 7]);
    }
}
