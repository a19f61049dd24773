//! Taking over the contents of maps that others of another layout replace.
//!
//! Nobody may go uncounted or unjudged meanwhile, so it is done in this order:
//!
//! 1. The new maps get what the old ones hold, before any new program runs ([`Copies::make`]).
//! 2. Programs are replaced, one by one. Those not replaced yet go on counting in the old maps.
//! 3. When no old program runs any more, what programs wrote since the copy follows
//!    ([`Copies::follow`]), and the old counters, read for the last time, are carried over
//!    ([`super::carry`]).
//!
//! Whatever step it ends at, the next start finds both sets of maps and goes on from there.

use super::{
    KernelError,
    generation::Generation,
    maps::{Fate, MAPS, Spec},
    raw::RawMap,
    steps::{Step, reached},
};
use flowguard_common::{
    class::CLASSES,
    names::{MAP_COUNTERS, MAP_SOURCES},
};

/// What the new maps were given, by map: whatever is different later was written since.
#[derive(Debug, Default)]
pub(super) struct Copies(Vec<(&'static str, Vec<u8>)>);

/// An old map and the one that replaces it; none: both sets use the same one, or there is no old
/// one.
fn replaced(
    name: &'static str,
    old: &Generation,
    new: &Generation,
) -> Result<Option<(RawMap, RawMap)>, KernelError> {
    let Some(from) = old.raw_if_any(name)? else {
        return Ok(None);
    };
    let to = new.raw(name)?;
    Ok((from.id != to.id).then_some((from, to)))
}

/// Fails if maps cannot be taken over, before anything is done about it.
pub(super) fn check(
    old: &Generation,
    shape_of: impl Fn(&Spec) -> Result<super::raw::Shape, KernelError>,
) -> Result<(), KernelError> {
    let elements = |name| old.raw(name).map(|map| map.shape.max_entries);
    let classes = elements(MAP_COUNTERS)?
        .checked_div(elements(MAP_SOURCES)?)
        .unwrap_or(0);
    if classes != CLASSES {
        return Err(KernelError::Classes { found: classes });
    }
    for spec in &MAPS {
        if let Some(from) = old.raw_if_any(spec.name)?
            && !matches!(spec.fate, Fate::Anew | Fate::Lost)
        {
            let to = shape_of(spec)?;
            if (from.shape.kind, from.shape.key_size) != (to.kind, to.key_size) {
                return Err(KernelError::Incomparable { map: spec.name });
            }
        }
    }
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

impl Copies {
    /// Copies what the newest old maps hold, all but counters.
    pub(super) fn make(old: &Generation, new: &Generation) -> Result<Self, KernelError> {
        let mut copies = Self::default();
        for Spec { name, fate, .. } in &MAPS {
            if !matches!(fate, Fate::Copied | Fate::Followed) {
                continue;
            }
            let Some((from, to)) = replaced(name, old, new)? else {
                continue;
            };
            let failed = |source| KernelError::raw(name, source);
            if from.is_array() {
                let all = from.read_array().map_err(failed)?;
                let room = to.shape.max_entries as usize;
                let elements = elements(&from, &all).take(room);
                let used: Vec<_> = elements.filter(|(_, element)| !is_zero(element)).collect();
                to.write_array(&used).map_err(failed)?;
                if *fate == Fate::Followed {
                    copies.0.push((name, all));
                }
            } else {
                for (key, value) in from.entries().map_err(failed)? {
                    to.set(&key, &value).map_err(failed)?;
                }
            }
            reached(Step::MapCopied)?;
        }
        Ok(copies)
    }

    /// Copies what old programs wrote since, where no new one has written as well. Of maps that an
    /// earlier start copied, which died, only what the new ones know nothing of.
    pub(super) fn follow(&self, old: &[Generation], new: &Generation) -> Result<(), KernelError> {
        for Spec { name, fate, .. } in &MAPS {
            if *fate != Fate::Followed {
                continue;
            }
            for (age, generation) in old.iter().rev().enumerate() {
                let Some((from, to)) = replaced(name, generation, new)? else {
                    continue;
                };
                // The newest is the one that was copied.
                let copy = self.0.iter().find(|(of, _)| of == name && age == 0);
                follow(&from, &to, copy.map(|(_, bytes)| bytes.as_slice()))
                    .map_err(|source| KernelError::raw(name, source))?;
                reached(Step::MapFollowed)?;
            }
        }
        Ok(())
    }
}

/// The elements of an array, numbered.
fn elements<'a>(map: &RawMap, all: &'a [u8]) -> impl Iterator<Item = (u32, &'a [u8])> {
    (0..).zip(all.chunks_exact(map.shape.value_size as usize))
}

fn follow(from: &RawMap, to: &RawMap, copy: Option<&[u8]>) -> std::io::Result<()> {
    let (old, new) = (from.read_array()?, to.read_array()?);
    let nothing = vec![0; from.shape.value_size as usize];
    let written: Vec<_> = elements(from, &old)
        .zip(elements(to, &new))
        .filter(|((index, old), (_, new))| {
            let start = *index as usize * nothing.len();
            let copied = copy
                .and_then(|copy| copy.get(start..start + nothing.len()))
                .unwrap_or(&nothing);
            let common = copied.len().min(new.len());
            *old != copied && new[..common] == copied[..common]
        })
        .map(|(old, _)| old)
        .collect();
    to.write_array(&written)
}
