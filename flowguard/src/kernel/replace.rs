//! Which maps the programs are to use: those of the running guard, or, if their layout is another,
//! new ones that take their place.

use std::{collections::VecDeque, mem::offset_of};

use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use flowguard_common::{
    names::{
        MAP_CARRIED_IDS, MAP_CGROUPS, MAP_EDGES, MAP_EVENTS, MAP_FALLBACK, MAP_NETNS, MAP_SOURCES,
        MAP_UIDS,
    },
    source::Edge,
};

use super::{
    KernelError, Options, Pins, Record, Registry, carry, events, fallback,
    generation::Generation,
    log,
    maps::{self, Fate, MAPS, Room},
    migrate::{self, Copies},
    probe,
    raw::{Entry, value_of},
    steps::{Step, reached},
    sys,
};

/// A page, which is what the kernel gives at least (`ringbuf_map_alloc` in kernel/bpf/ringbuf.c).
const SMALLEST_RING: u32 = 4096;

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
        options: &Options,
        live: Vec<Generation>,
    ) -> Result<(Self, Ebpf), KernelError> {
        let pins = &options.pins;
        let room = room(&live, options)?;
        if let Some((newest, older)) = live.split_last()
            && is_current(newest, &room)?
        {
            // Mostly there are no older ones. If there are, a start died that was to finish this.
            let change = Self {
                old: older.to_vec(),
                new: newest.clone(),
                copies: Copies::default(),
            };
            let object = load(Some(newest), &room)?;
            return Ok((change, object));
        }
        let newest = live.last();
        if let Some(newest) = newest {
            migrate::check(newest, |spec| room.shape(spec))?;
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
    /// force and removes the others. Events that nobody has read yet are returned.
    pub(super) fn finish(self, pins: &Pins) -> Result<VecDeque<Record>, KernelError> {
        let mut left = VecDeque::new();
        if !self.replaces() {
            return Ok(left);
        }
        sys::wait_for_programs().map_err(|source| KernelError::Wait { source })?;
        reached(Step::ProgramsEnded)?;
        self.copies.follow(&self.old, &self.new)?;
        carry::carry(&self.old, &self.new)?;
        for old in &self.old {
            if old.raw(MAP_EVENTS)?.id != self.new.raw(MAP_EVENTS)?.id {
                left.extend(events::drain(old)?);
            }
        }
        pins.put_in_force(&self.new)?;
        reached(Step::Exchanged)?;
        for old in &self.old {
            old.remove()?;
            reached(Step::OldRemoved)?;
        }
        tracing::info!(
            "the maps have another layout from now on; counts and verdicts were taken over"
        );
        Ok(left)
    }
}

/// How much there has to be room for: what is configured, and never less than what is in use.
fn room(live: &[Generation], options: &Options) -> Result<Room, KernelError> {
    let mut room = Room {
        sources: options.max_sources,
        edges: options.max_edges,
        identities: options.max_identities,
        unregistered: options.max_unregistered,
        ring_bytes: options.ring_bytes,
        carried: 1,
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

    for name in [MAP_UIDS, MAP_CGROUPS, MAP_NETNS] {
        room.identities = room.identities.max(entries(newest, name)?.len() as u32);
    }
    let devices = entries(newest, MAP_EDGES)?;
    let slots = devices.iter().map(|(_, edge)| slot(edge).saturating_add(1));
    room.edges = slots.fold(room.edges.max(devices.len() as u32), u32::max);

    if first.path(MAP_CARRIED_IDS).exists() {
        room.carried += entries(first, MAP_CARRIED_IDS)?.len() as u32;
    }
    for maps in live {
        room.carried = room
            .carried
            .saturating_add(maps.raw(MAP_FALLBACK)?.shape.max_entries);
    }
    Ok(room)
}

fn entries(maps: &Generation, name: &'static str) -> Result<Vec<Entry>, KernelError> {
    let map = maps.raw(name)?;
    map.entries()
        .map_err(|source| KernelError::raw(name, source))
}

fn slot(edge: &[u8]) -> u32 {
    edge.get(offset_of!(Edge, slot)..).map_or(0, value_of)
}

/// Whether maps are laid out as ours would be, and need no clearing up.
fn is_current(maps: &Generation, room: &Room) -> Result<bool, KernelError> {
    if !maps.is_ours()? {
        return Ok(false);
    }
    for spec in &MAPS {
        let Some(map) = maps.raw_if_any(spec.name)? else {
            return Ok(false);
        };
        if spec.fate != Fate::Anew && map.shape != room.shape(spec)? {
            return Ok(false);
        }
    }
    Ok(!is_crowded(maps)?)
}

/// Whether most of the fallback is taken by identities that have long been registered.
fn is_crowded(maps: &Generation) -> Result<bool, KernelError> {
    let map = maps.raw(MAP_FALLBACK)?;
    let entries = entries(maps, MAP_FALLBACK)?;
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
    let object = load(Some(new), room)?;
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
    for spec in &MAPS {
        let renewed = spec.fate == Fate::Anew || (spec.name == MAP_FALLBACK && crowded);
        if renewed {
            continue;
        }
        if let Some(map) = old.raw_if_any(spec.name)?
            && map.shape == room.shape(spec)?
        {
            map.pin(&new.path(spec.name))
                .map_err(|source| KernelError::Pin {
                    map: spec.name,
                    source: Box::new(source),
                })?;
            reached(Step::MapShared)?;
        }
    }
    Ok(())
}

/// The programs on maps of their own, as small as can be, which nobody else sees.
pub(super) fn trial_object() -> Result<Ebpf, KernelError> {
    let smallest = Room {
        sources: 1,
        edges: 1,
        identities: 1,
        unregistered: 1,
        ring_bytes: SMALLEST_RING,
        carried: 1,
    };
    load(None, &smallest)
}

/// Reads the object, with its programs on these maps; those that are missing are made.
fn load(set: Option<&Generation>, room: &Room) -> Result<Ebpf, KernelError> {
    let has_set_retval = u8::from(probe::has_set_retval());
    let log_level = log::level();
    let mut loader = EbpfLoader::new();
    loader
        .verifier_log_level(VerifierLogLevel::STATS)
        .override_global("HAS_SET_RETVAL", &has_set_retval, true)
        .override_global(aya_log::LEVEL, &log_level, true);
    for spec in &MAPS {
        if let Some(entries) = room.of(spec) {
            loader.map_max_entries(spec.name, entries);
        }
        if let Some(set) = set {
            loader.map_pin_path(spec.name, set.path(spec.name));
        }
    }
    loader
        .load(maps::object())
        .map_err(|error| KernelError::Load(Box::new(error)))
}
