//! Which maps the programs are to use: those of the running guard, or, if their layout is another,
//! new ones that take their place.

use std::mem::offset_of;

use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use flowguard_common::{
    names::{MAP_CARRIED_IDS, MAP_EDGES, MAP_FALLBACK, MAP_SOURCES, MAX_FALLBACK},
    source::Edge,
};

use super::{
    KernelError, Pins, Registry, carry, fallback,
    generation::Generation,
    log,
    maps::{Fate, MAPS, OBJECT, Room},
    migrate::{self, Copies},
    probe,
    raw::value_of,
    steps::{Step, reached},
    sys,
};

/// From one set of maps to the next.
pub(super) struct Change {
    /// Sets that programs may still be counting in, oldest first; none: there is nothing to take
    /// over, or nothing to change.
    old: Vec<Generation>,
    /// The set that the programs are to use.
    pub(super) new: Generation,
    copies: Copies,
}

impl Change {
    /// Decides, and has the maps ready: new ones are complete but for the programs' work, and
    /// nothing uses them yet. `live` are the sets that count.
    pub(super) fn prepare(
        pins: &Pins,
        live: Vec<Generation>,
        sources: u32,
        edges: u32,
    ) -> Result<(Self, Ebpf), KernelError> {
        let room = room(&live, sources, edges)?;
        if let Some((newest, older)) = live.split_last()
            && is_current(newest, &room)?
        {
            // Mostly there are no older ones. If there are, a start died that was to finish this.
            let change = Self {
                old: older.to_vec(),
                new: newest.clone(),
                copies: Copies::default(),
            };
            let object = load(newest, &room)?;
            return Ok((change, object));
        }
        let newest = live.last();
        if let Some(newest) = newest {
            migrate::check(newest, |table| room.shape(table))?;
        }
        let new = pins.make_generation(newest)?;
        match fill(newest, &new, &room) {
            Ok((object, copies)) => {
                let change = Self {
                    old: live,
                    new,
                    copies,
                };
                Ok((change, object))
            }
            Err(error) => {
                // Nothing uses them. If they cannot be removed now, the next start does it.
                drop(new.remove());
                Err(error)
            }
        }
    }

    /// Whether old maps are being replaced.
    pub(super) fn replaces(&self) -> bool {
        !self.old.is_empty()
    }

    /// All programs use the new maps: takes over what the old ones counted, puts the new ones in
    /// force and removes the others.
    pub(super) fn finish(self, pins: &Pins) -> Result<(), KernelError> {
        if !self.replaces() {
            return Ok(());
        }
        sys::wait_for_programs().map_err(|source| KernelError::Wait { source })?;
        reached(Step::ProgramsEnded)?;
        self.copies.follow(&self.old, &self.new)?;
        carry::carry(&self.old, &self.new)?;
        pins.put_in_force(&self.new)?;
        reached(Step::Exchanged)?;
        for old in &self.old {
            old.remove()?;
            reached(Step::OldRemoved)?;
        }
        tracing::info!(
            "the maps have another layout from now on; counts and verdicts were taken over"
        );
        Ok(())
    }
}

/// How much there has to be room for: what is configured, and never less than what is in use.
fn room(live: &[Generation], sources: u32, edges: u32) -> Result<Room, KernelError> {
    let mut room = Room {
        sources,
        edges,
        identities: 1,
    };
    let (Some(first), Some(newest)) = (live.first(), live.last()) else {
        return Ok(room);
    };
    let map = newest.raw(MAP_SOURCES)?;
    let all = map
        .read_array()
        .map_err(|source| KernelError::raw(MAP_SOURCES, source))?;
    // Ids are given out from 0.
    let used = all
        .chunks_exact(map.shape.value_size as usize)
        .take_while(|info| info.iter().any(|byte| *byte != 0))
        .count();
    room.sources = room.sources.max(used as u32);

    let devices = newest
        .raw(MAP_EDGES)?
        .entries()
        .map_err(|source| KernelError::raw(MAP_EDGES, source))?;
    let slots = devices.iter().map(|(_, edge)| slot(edge).saturating_add(1));
    room.edges = slots.fold(room.edges.max(devices.len() as u32), u32::max);

    if let Some(carried) = first.raw_if_any(MAP_CARRIED_IDS)? {
        let carried = carried
            .entries()
            .map_err(|source| KernelError::raw(MAP_CARRIED_IDS, source))?;
        room.identities += carried.len() as u32;
    }
    room.identities += MAX_FALLBACK.saturating_mul(live.len() as u32);
    Ok(room)
}

fn slot(edge: &[u8]) -> u32 {
    edge.get(offset_of!(Edge, slot)..).map_or(0, value_of)
}

/// Whether maps are laid out as ours would be, and need no clearing up.
fn is_current(maps: &Generation, room: &Room) -> Result<bool, KernelError> {
    if !maps.is_ours()? {
        return Ok(false);
    }
    for table in &MAPS {
        let Some(map) = maps.raw_if_any(table.name)? else {
            return Ok(false);
        };
        if table.fate != Fate::Anew && map.shape != room.shape(table)? {
            return Ok(false);
        }
    }
    Ok(!is_crowded(maps)?)
}

/// Whether most of the fallback is taken by identities that have long been registered.
fn is_crowded(maps: &Generation) -> Result<bool, KernelError> {
    let map = maps.raw(MAP_FALLBACK)?;
    let entries = map
        .entries()
        .map_err(|source| KernelError::raw(MAP_FALLBACK, source))?;
    let half = map.shape.max_entries as usize / 2;
    if entries.len() <= half {
        return Ok(false);
    }
    let registry = Registry::open(maps)?;
    let registered = entries
        .iter()
        .filter(|(key, _)| fallback::source_of(&registry, &value_of(key)).is_some())
        .count();
    Ok(registered > half)
}

/// Makes a set of maps complete.
fn fill(
    old: Option<&Generation>,
    new: &Generation,
    room: &Room,
) -> Result<(Ebpf, Copies), KernelError> {
    reached(Step::FolderMade)?;
    if let Some(old) = old {
        share(old, new, room)?;
    }
    let object = load(new, room)?;
    reached(Step::MapsMade)?;
    let Some(old) = old else {
        return Ok((object, Copies::default()));
    };
    let copies = Copies::make(old, new)?;
    fallback::copy_strangers(old, new)?;
    reached(Step::MapCopied)?;
    Ok((object, copies))
}

/// Lets the new set use those of the old maps that are laid out alike.
fn share(old: &Generation, new: &Generation, room: &Room) -> Result<(), KernelError> {
    let crowded = old.is_ours()? && is_crowded(old)?;
    for table in &MAPS {
        let renewed = table.fate == Fate::Anew || (table.name == MAP_FALLBACK && crowded);
        if renewed {
            continue;
        }
        if let Some(map) = old.raw_if_any(table.name)?
            && map.shape == room.shape(table)?
        {
            map.pin(&new.path(table.name))
                .map_err(|source| KernelError::Pin {
                    map: table.name,
                    source: Box::new(source),
                })?;
            reached(Step::MapShared)?;
        }
    }
    Ok(())
}

/// Reads the object, with its programs on these maps; those that are missing are made.
fn load(maps: &Generation, room: &Room) -> Result<Ebpf, KernelError> {
    let has_set_retval = u8::from(probe::has_set_retval());
    let log_level = log::level();
    let mut loader = EbpfLoader::new();
    loader
        .verifier_log_level(VerifierLogLevel::STATS)
        .override_global("HAS_SET_RETVAL", &has_set_retval, true)
        .override_global(aya_log::LEVEL, &log_level, true);
    for table in &MAPS {
        if let Some(entries) = room.of(table) {
            loader.map_max_entries(table.name, entries);
        }
        loader.map_pin_path(table.name, maps.path(table.name));
    }
    loader
        .load(OBJECT)
        .map_err(|error| KernelError::Load(Box::new(error)))
}
