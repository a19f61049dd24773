//! The maps: which there are, how large each has to be, and what becomes of it when its layout
//! changes.

use std::{collections::HashMap, sync::LazyLock};

use aya_obj::{Object, generated::bpf_map_type};
use flowguard_common::{
    class::CLASSES,
    names::{
        MAP_BANK, MAP_BUCKETS, MAP_CARRIED, MAP_CARRIED_IDS, MAP_CARRIED_STATS, MAP_CGROUPS,
        MAP_CONTRACT, MAP_COUNTERS, MAP_EDGES, MAP_EVENT_RATE, MAP_EVENTS, MAP_FALLBACK,
        MAP_FANOUT, MAP_NETNS, MAP_SETTINGS, MAP_SOURCES, MAP_STAMPS, MAP_STATS, MAP_SYNS,
        MAP_TRUSTED, MAP_UIDS, MAP_VERDICTS,
    },
    stamp::SYNS_PER_EDGE,
};

use super::{KernelError, raw::Shape};

/// The programs and maps, as `cargo xtask build` made them.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("FLOWGUARD_BPF_OBJECT"));

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
    /// As many as the maps that are replaced may hold.
    Identities,
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
pub(super) struct Table {
    /// Name in the object, and of its pin.
    pub(super) name: &'static str,
    pub(super) capacity: Capacity,
    pub(super) fate: Fate,
}

const fn table(name: &'static str, capacity: Capacity, fate: Fate) -> Table {
    Table {
        name,
        capacity,
        fate,
    }
}

/// All maps; every one is pinned.
pub(super) const MAPS: [Table; 22] = [
    table(MAP_CONTRACT, Capacity::Fixed, Fate::Anew),
    table(MAP_SETTINGS, Capacity::Fixed, Fate::Copied),
    table(MAP_BANK, Capacity::Fixed, Fate::Copied),
    table(MAP_TRUSTED, Capacity::Fixed, Fate::Copied),
    table(MAP_UIDS, Capacity::Fixed, Fate::Copied),
    table(MAP_CGROUPS, Capacity::Fixed, Fate::Copied),
    table(MAP_NETNS, Capacity::Fixed, Fate::Copied),
    table(MAP_EDGES, Capacity::Edges, Fate::Copied),
    table(MAP_SOURCES, Capacity::Sources, Fate::Copied),
    table(MAP_VERDICTS, Capacity::SourcesAndClasses, Fate::Copied),
    table(MAP_FANOUT, Capacity::SourcesAndClasses, Fate::Followed),
    table(MAP_BUCKETS, Capacity::SourcesAndClasses, Fate::Followed),
    table(MAP_EVENT_RATE, Capacity::Sources, Fate::Followed),
    table(MAP_SYNS, Capacity::PerEdge(SYNS_PER_EDGE), Fate::Followed),
    table(MAP_COUNTERS, Capacity::SourcesAndClasses, Fate::Carried),
    table(MAP_STATS, Capacity::Fixed, Fate::Carried),
    table(MAP_FALLBACK, Capacity::Fixed, Fate::Carried),
    table(MAP_CARRIED, Capacity::SourcesAndClasses, Fate::Anew),
    table(MAP_CARRIED_STATS, Capacity::Fixed, Fate::Anew),
    table(MAP_CARRIED_IDS, Capacity::Identities, Fate::Anew),
    table(MAP_EVENTS, Capacity::Fixed, Fate::Lost),
    table(MAP_STAMPS, Capacity::Fixed, Fate::Lost),
];

/// How much there has to be room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) sources: u32,
    pub(super) edges: u32,
    /// Unregistered identities whose counters may have to be carried over.
    pub(super) identities: u32,
}

impl Room {
    /// The capacity of a map; none: the object's own.
    pub(super) fn of(&self, table: &Table) -> Option<u32> {
        match table.capacity {
            Capacity::Fixed => None,
            Capacity::Sources => Some(self.sources),
            Capacity::SourcesAndClasses => Some(self.sources.saturating_mul(CLASSES)),
            Capacity::Edges => Some(self.edges),
            Capacity::PerEdge(elements) => Some(self.edges.saturating_mul(elements)),
            Capacity::Identities => Some(self.identities),
        }
    }

    /// The layout that a map of the object will have.
    pub(super) fn shape(&self, table: &Table) -> Result<Shape, KernelError> {
        let shape = shapes()?
            .get(table.name)
            .copied()
            .ok_or(KernelError::NoSuchMap { map: table.name })?;
        Ok(Shape {
            max_entries: self.of(table).unwrap_or(shape.max_entries),
            ..shape
        })
    }
}

/// What the object says of its maps.
fn shapes() -> Result<&'static HashMap<String, Shape>, KernelError> {
    static SHAPES: LazyLock<Result<HashMap<String, Shape>, String>> = LazyLock::new(|| {
        let object = Object::parse(OBJECT).map_err(|error| error.to_string())?;
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
    };

    #[test]
    fn every_map_of_the_object_is_in_the_table() {
        let mut in_object: Vec<&str> = shapes()
            .unwrap()
            .keys()
            .map(String::as_str)
            // Constants, and what only debugging uses.
            .filter(|name| !name.starts_with('.') && !name.starts_with("AYA_"))
            .collect();
        let mut in_table: Vec<&str> = MAPS.iter().map(|table| table.name).collect();
        in_object.sort_unstable();
        in_table.sort_unstable();
        assert_eq!(in_object, in_table);
    }

    #[test]
    fn capacities_follow_the_configuration() {
        let entries = |name| {
            let table = MAPS.iter().find(|table| table.name == name).unwrap();
            ROOM.shape(table).unwrap().max_entries
        };
        assert_eq!(entries(MAP_SOURCES), 5);
        assert_eq!(entries(MAP_COUNTERS), 15);
        assert_eq!(entries(MAP_CARRIED), 15);
        assert_eq!(entries(MAP_EDGES), 7);
        assert_eq!(entries(MAP_SYNS), 7 * SYNS_PER_EDGE);
        assert_eq!(entries(MAP_BANK), 1);
    }
}
