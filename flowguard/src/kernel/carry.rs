//! Carrying counters over from maps that others replace: the last thing that is done with the old
//! ones, when no program counts in them any more.
//!
//! What comes out depends on the old maps only, and is written as absolute numbers. So it can be
//! done again after a start that died in the middle of it.

use std::{collections::HashMap, io, mem::offset_of};

use flowguard_common::{
    class::{CLASSES, Class},
    counters::ClassCounters,
    names::{
        MAP_CARRIED, MAP_CARRIED_IDS, MAP_CARRIED_STATS, MAP_COUNTERS, MAP_FALLBACK, MAP_STATS,
    },
    source::FallbackKey,
};

use super::{
    KernelError, Registry, fallback,
    generation::Generation,
    raw::{RawMap, bytes_of, value_of, words},
    steps::{Step, reached},
};

/// The word that is not a sum but a time.
const LAST_SEEN: usize = offset_of!(ClassCounters, last_seen_ns) / size_of::<u64>();

/// Adds counters of any version to others: what one of them does not know is left out.
fn add(to: &mut [u64], more: &[u64]) {
    for (index, (to, more)) in to.iter_mut().zip(more).enumerate() {
        *to = if index == LAST_SEEN {
            (*to).max(*more)
        } else {
            to.wrapping_add(*more)
        };
    }
}

/// Counters in elements of so many words.
#[derive(Debug)]
struct Sums {
    words: Vec<u64>,
    size: usize,
}

impl Sums {
    fn of(map: &RawMap) -> Self {
        let size = map.shape.value_size as usize / size_of::<u64>();
        Self {
            words: vec![0; size * map.shape.max_entries as usize],
            size,
        }
    }

    /// Adds elements one by one: in both, an index means the same.
    fn add_array(&mut self, map: &RawMap, sum: impl Fn(&mut [u64], &[u64])) -> io::Result<()> {
        let all = map.read_array()?;
        let elements = all.chunks_exact(map.shape.value_size as usize);
        for (to, more) in self.words.chunks_exact_mut(self.size).zip(elements) {
            sum(to, &words(more));
        }
        Ok(())
    }

    fn write(&self, map: &RawMap) -> io::Result<()> {
        let bytes: Vec<u8> = self
            .words
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let size = self.size * size_of::<u64>();
        let elements: Vec<_> = (0..).zip(bytes.chunks_exact(size)).collect();
        map.write_array(&elements)
    }
}

/// The maps of that name that were replaced, each once; `new` is not among them.
fn replaced(
    name: &'static str,
    old: &[Generation],
    new: &Generation,
) -> Result<Vec<(RawMap, Generation)>, KernelError> {
    let mut known = vec![new.raw(name)?.id];
    let mut maps = Vec::new();
    for generation in old {
        if let Some(map) = generation.raw_if_any(name)?
            && !known.contains(&map.id)
        {
            known.push(map.id);
            maps.push((map, generation.clone()));
        }
    }
    Ok(maps)
}

/// Writes what was counted in the old maps into the `CARRIED*` maps of the new ones. `old` are in
/// the order in which they were made: what the first of them had been carried is carried on, and
/// what the others had been derives from the first.
pub(super) fn carry(old: &[Generation], new: &Generation) -> Result<(), KernelError> {
    let (mut counters, target) = sums(MAP_CARRIED, MAP_COUNTERS, old, new, add)?;
    let identities = carry_identities(&mut counters, old, new)?;
    counters
        .write(&target)
        .map_err(|source| KernelError::raw(MAP_CARRIED, source))?;
    reached(Step::CountersCarried)?;

    let target = new.raw(MAP_CARRIED_IDS)?;
    for (key, sum) in &identities {
        let value: Vec<u8> = sum.iter().flat_map(|word| word.to_ne_bytes()).collect();
        target
            .set(bytes_of(key), &value)
            .map_err(|source| KernelError::raw(MAP_CARRIED_IDS, source))?;
    }
    reached(Step::CountersCarried)?;

    let plain = |to: &mut [u64], more: &[u64]| {
        for (to, more) in to.iter_mut().zip(more) {
            *to = to.wrapping_add(*more);
        }
    };
    let (stats, target) = sums(MAP_CARRIED_STATS, MAP_STATS, old, new, plain)?;
    stats
        .write(&target)
        .map_err(|source| KernelError::raw(MAP_CARRIED_STATS, source))?;
    reached(Step::CountersCarried)
}

/// What the maps `counted` counted and what had been carried to the first of them.
fn sums(
    carried: &'static str,
    counted: &'static str,
    old: &[Generation],
    new: &Generation,
    add: impl Fn(&mut [u64], &[u64]),
) -> Result<(Sums, RawMap), KernelError> {
    let target = new.raw(carried)?;
    let mut sums = Sums::of(&target);
    if let Some(first) = old.first()
        && let Some(map) = first.raw_if_any(carried)?
    {
        sums.add_array(&map, &add)
            .map_err(|source| KernelError::raw(carried, source))?;
    }
    for (map, _) in replaced(counted, old, new)? {
        sums.add_array(&map, &add)
            .map_err(|source| KernelError::raw(counted, source))?;
    }
    Ok((sums, target))
}

/// Counters of identities: those that lead to a source by now become the source's, the others are
/// returned.
fn carry_identities(
    counters: &mut Sums,
    old: &[Generation],
    new: &Generation,
) -> Result<HashMap<FallbackKey, Vec<u64>>, KernelError> {
    let registry = Registry::open(new)?;
    let mut entries = Vec::new();
    if let Some(first) = old.first()
        && let Some(map) = first.raw_if_any(MAP_CARRIED_IDS)?
    {
        let carried = map
            .entries()
            .map_err(|source| KernelError::raw(MAP_CARRIED_IDS, source))?;
        entries.extend(carried);
    }
    for (map, generation) in replaced(MAP_FALLBACK, old, new)? {
        let parts = fallback::Parts::of(&generation)?;
        let counted = map
            .entries()
            .map_err(|source| KernelError::raw(MAP_FALLBACK, source))?;
        entries.extend(
            counted
                .into_iter()
                .map(|(key, entry)| (key, parts.counters(&entry).to_vec())),
        );
    }
    let mut unregistered: HashMap<FallbackKey, Vec<u64>> = HashMap::new();
    for (key, sum) in entries {
        let key: FallbackKey = value_of(&key);
        let sum = words(&sum);
        let element = fallback::source_of(&registry, &key)
            .map(|(source, class): (u32, Class)| class.index(source) as usize * counters.size)
            .and_then(|start| counters.words.get_mut(start..start + counters.size));
        match element {
            Some(element) => add(element, &sum),
            None => add(
                unregistered
                    .entry(key)
                    .or_insert_with(|| vec![0; counters.size]),
                &sum,
            ),
        }
    }
    Ok(unregistered)
}

const _: () = assert!(CLASSES == Class::ALL.len() as u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_other_versions_are_added_as_far_as_they_go() {
        let mut sum = vec![1; 8];
        add(&mut sum, &[10, 10, 10, 10, 10, 99, 10]);
        assert_eq!(sum, [11, 11, 11, 11, 11, 99, 11, 1]);
        // A time, not a sum; and what only the other knows is left out.
        let mut short = vec![0, 0, 0, 0, 0, 100];
        add(&mut short, &[1, 1, 1, 1, 1, 99, 1]);
        assert_eq!(short, [1, 1, 1, 1, 1, 100]);
    }
}
