//! The maps: which there are, how large each has to be, and what becomes of it when its layout
//! changes.

use std::{collections::HashMap, sync::LazyLock};

use aya_obj::{Object, generated::bpf_map_type};
use flowguard_common::{
    class::CLASSES,
    flow::FLOWS_PER_DEVICE,
    names::{
        MAP_ADDRS, MAP_BANK, MAP_BUCKETS, MAP_CARRIED, MAP_CARRIED_IDS, MAP_CARRIED_STATS,
        MAP_CGROUPS, MAP_CONTRACT, MAP_COUNTERS, MAP_EDGES, MAP_EVENT_RATE, MAP_EVENTS,
        MAP_FALLBACK, MAP_FANOUT, MAP_FLOWS, MAP_NETNS, MAP_ON_THE_WAY, MAP_SETTINGS, MAP_SOURCES,
        MAP_STAMPS, MAP_STATS, MAP_STRAY_RATE, MAP_TRUSTED, MAP_UIDS, MAP_VERDICTS,
    },
};

use super::{KernelError, probe, raw::Shape};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("FLOWGUARD_BPF_OBJECT"));
/// For kernels whose atomics cannot fetch, which refuse the other at sight.
static LEGACY_OBJECT: &[u8] = aya::include_bytes_aligned!(env!("FLOWGUARD_BPF_OBJECT_LEGACY"));

/// The programs and maps for this kernel, as `cargo xtask build` made them.
pub(super) fn object() -> &'static [u8] {
    if probe::has_fetching_atomics() {
        OBJECT
    } else {
        LEGACY_OBJECT
    }
}

/// What a map's capacity goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capacity {
    /// What the object says.
    Fixed,
    /// An element a source.
    Sources,
    /// An element a source and class.
    SourcesAndClasses,
    /// An element a device.
    Edges,
    /// So many elements a device.
    PerEdge(u32),
    /// An element an identity, of each sort.
    Identities,
    /// An element an identity that is not registered.
    Unregistered,
    /// Bytes of the ring.
    Ring,
    /// As many as the maps that are replaced may hold.
    CarriedIdentities,
}

/// What becomes of a map's contents when a map of another layout replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The daemon writes it, and does not while it replaces maps: copied before programs change.
    Copied,
    /// The programs write it: copied before programs change, and what they wrote meanwhile once
    /// more afterwards.
    Followed,
    /// Counters: the last reading of the old map is kept in one of those that are `Anew`.
    Carried,
    /// It belongs to one set of maps, and is never shared between two.
    Anew,
    /// It cannot be copied, and starts empty.
    Lost,
}

/// One map.
#[derive(Debug)]
pub(super) struct Spec {
    /// Name in the object, and of its pin.
    pub(super) name: &'static str,
    pub(super) capacity: Capacity,
    pub(super) fate: Fate,
}

const fn spec(name: &'static str, capacity: Capacity, fate: Fate) -> Spec {
    Spec {
        name,
        capacity,
        fate,
    }
}

/// All maps; every one is pinned.
pub(super) const MAPS: [Spec; 25] = [
    spec(MAP_CONTRACT, Capacity::Fixed, Fate::Anew),
    spec(MAP_SETTINGS, Capacity::Fixed, Fate::Copied),
    spec(MAP_BANK, Capacity::Fixed, Fate::Copied),
    spec(MAP_TRUSTED, Capacity::Fixed, Fate::Copied),
    spec(MAP_UIDS, Capacity::Identities, Fate::Copied),
    spec(MAP_CGROUPS, Capacity::Identities, Fate::Copied),
    spec(MAP_NETNS, Capacity::Identities, Fate::Copied),
    spec(MAP_ADDRS, Capacity::Identities, Fate::Copied),
    spec(MAP_EDGES, Capacity::Edges, Fate::Copied),
    spec(MAP_SOURCES, Capacity::Sources, Fate::Copied),
    spec(MAP_VERDICTS, Capacity::SourcesAndClasses, Fate::Copied),
    spec(MAP_FANOUT, Capacity::SourcesAndClasses, Fate::Followed),
    spec(MAP_BUCKETS, Capacity::SourcesAndClasses, Fate::Followed),
    spec(MAP_EVENT_RATE, Capacity::Sources, Fate::Followed),
    spec(
        MAP_FLOWS,
        Capacity::PerEdge(FLOWS_PER_DEVICE),
        Fate::Followed,
    ),
    spec(MAP_STRAY_RATE, Capacity::Fixed, Fate::Followed),
    spec(MAP_COUNTERS, Capacity::SourcesAndClasses, Fate::Carried),
    spec(MAP_STATS, Capacity::Fixed, Fate::Carried),
    spec(MAP_FALLBACK, Capacity::Unregistered, Fate::Carried),
    spec(MAP_CARRIED, Capacity::SourcesAndClasses, Fate::Anew),
    spec(MAP_CARRIED_STATS, Capacity::Fixed, Fate::Anew),
    spec(MAP_CARRIED_IDS, Capacity::CarriedIdentities, Fate::Anew),
    spec(MAP_EVENTS, Capacity::Ring, Fate::Lost),
    spec(MAP_ON_THE_WAY, Capacity::Fixed, Fate::Lost),
    spec(MAP_STAMPS, Capacity::Fixed, Fate::Lost),
];

/// How much there has to be room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) sources: u32,
    pub(super) edges: u32,
    pub(super) identities: u32,
    pub(super) unregistered: u32,
    pub(super) ring_bytes: u32,
    /// Unregistered identities whose counters may have to be carried over.
    pub(super) carried: u32,
}

impl Room {
    /// The capacity of a map; none: the object's own.
    pub(super) fn of(&self, spec: &Spec) -> Option<u32> {
        match spec.capacity {
            Capacity::Fixed => None,
            Capacity::Sources => Some(self.sources),
            Capacity::SourcesAndClasses => Some(self.sources.saturating_mul(CLASSES)),
            Capacity::Edges => Some(self.edges),
            Capacity::PerEdge(elements) => Some(self.edges.saturating_mul(elements)),
            Capacity::Identities => Some(self.identities),
            Capacity::Unregistered => Some(self.unregistered),
            Capacity::Ring => Some(self.ring_bytes),
            Capacity::CarriedIdentities => Some(self.carried),
        }
    }

    /// The layout that a map of the object will have.
    pub(super) fn shape(&self, spec: &Spec) -> Result<Shape, KernelError> {
        let shape = shapes()?
            .get(spec.name)
            .copied()
            .ok_or(KernelError::NoSuchMap { map: spec.name })?;
        Ok(Shape {
            max_entries: self.of(spec).unwrap_or(shape.max_entries),
            ..shape
        })
    }
}

/// What the object says of its maps.
fn shapes() -> Result<&'static HashMap<String, Shape>, KernelError> {
    static SHAPES: LazyLock<Result<HashMap<String, Shape>, String>> = LazyLock::new(|| {
        let object = Object::parse(object()).map_err(|error| error.to_string())?;
        let shapes = object.maps.into_iter().map(|(name, map)| {
            let ring = map.map_type() == bpf_map_type::BPF_MAP_TYPE_RINGBUF as u32;
            let shape = Shape {
                kind: map.map_type(),
                key_size: map.key_size(),
                // A ring has records of any size.
                value_size: if ring { 0 } else { map.value_size() },
                max_entries: map.max_entries(),
                flags: map.map_flags(),
            };
            (name, shape)
        });
        Ok(shapes.collect())
    });
    SHAPES.as_ref().map_err(|reason| KernelError::Object {
        reason: reason.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room {
        sources: 5,
        edges: 7,
        identities: 9,
        unregistered: 11,
        ring_bytes: 4096,
        carried: 13,
    };

    #[test]
    fn every_map_of_the_object_is_in_the_table() {
        let mut in_object: Vec<&str> = shapes()
            .unwrap()
            .keys()
            .map(String::as_str)
            // Constants, what only debugging uses, and what lives no longer than a program's
            // run or the daemon's question.
            .filter(|name| !name.starts_with('.') && !name.starts_with("AYA_"))
            .filter(|name| !["PARSED", "FOUND", "NETNS_PROBE"].contains(name))
            .collect();
        let mut in_table: Vec<&str> = MAPS.iter().map(|spec| spec.name).collect();
        in_object.sort_unstable();
        in_table.sort_unstable();
        assert_eq!(in_object, in_table);
    }

    #[test]
    fn capacities_follow_the_configuration() {
        let entries = |name| {
            let spec = MAPS.iter().find(|spec| spec.name == name).unwrap();
            ROOM.shape(spec).unwrap().max_entries
        };
        assert_eq!(entries(MAP_SOURCES), 5);
        assert_eq!(entries(MAP_COUNTERS), 15);
        assert_eq!(entries(MAP_CARRIED), 15);
        assert_eq!(entries(MAP_EDGES), 7);
        assert_eq!(entries(MAP_FLOWS), 7 * FLOWS_PER_DEVICE);
        assert_eq!(entries(MAP_UIDS), 9);
        assert_eq!(entries(MAP_FALLBACK), 11);
        assert_eq!(entries(MAP_EVENTS), 4096);
        assert_eq!(entries(MAP_CARRIED_IDS), 13);
        assert_eq!(entries(MAP_BANK), 1);
    }
}
