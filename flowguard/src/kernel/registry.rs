//! Who is who: names and ids of sources, and the kernel identities that lead to them.
//!
//! The maps are the only memory of it, so a daemon that starts later, and `--offline`, read the
//! same registry.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use aya::maps::{Array, HashMap as BpfHashMap, LpmTrie, MapData, lpm_trie::Key};
use flowguard_common::{
    event::NO_SOURCE,
    flow::FLOWS_PER_DEVICE,
    names::{MAP_ADDRS, MAP_CGROUPS, MAP_EDGES, MAP_FLOWS, MAP_NETNS, MAP_SOURCES, MAP_UIDS},
    source::{
        AddrKey, Edge, KEY_NETNS, KEY_UID, Kind, NAME_BYTES, ROLE_EDGE, ROLE_GATEWAY,
        SOURCE_AT_EDGE, SourceInfo,
    },
};
use ipnet::IpNet;
use jiff::Timestamp;

use super::{KernelError, Table, generation::Generation, prefix, slots::Slots, tables::IDENTITIES};
use crate::model::SourceName;

/// A kernel identity that leads to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// A uid of the host.
    Uid(u32),
    /// A cgroup id; everything below it included.
    Cgroup(u64),
    /// A network namespace cookie.
    Netns(u64),
    /// An interface index.
    Edge(u32),
    /// A prefix at a gateway.
    Addr(IpNet),
}

impl Identity {
    /// Kind and id under which it is counted while nobody is registered; none: it is not.
    pub fn fallback_key(self) -> Option<(u32, u64)> {
        match self {
            Self::Uid(uid) => Some((KEY_UID, uid.into())),
            Self::Netns(cookie) => Some((KEY_NETNS, cookie)),
            Self::Addr(net) => prefix::key_of(net),
            Self::Cgroup(_) | Self::Edge(_) => None,
        }
    }

    /// The identity that is counted under a kind and an id.
    pub fn from_fallback(kind: u32, id: u64) -> Option<Self> {
        match kind {
            KEY_UID => u32::try_from(id).ok().map(Self::Uid),
            KEY_NETNS => Some(Self::Netns(id)),
            _ => prefix::net_of(kind, id).map(Self::Addr),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::Cgroup(id) => write!(f, "cgroup {id}"),
            Self::Netns(cookie) => write!(f, "netns {cookie}"),
            Self::Edge(ifindex) => write!(f, "edge {ifindex}"),
            Self::Addr(net) => write!(f, "addr {net}"),
        }
    }
}

/// The registry of sources.
pub struct Registry {
    sources: Array<MapData, SourceInfo>,
    uids: LpmTrie<MapData, [u8; 4], u32>,
    cgroups: BpfHashMap<MapData, u64, u32>,
    netns: BpfHashMap<MapData, u64, u32>,
    edges: BpfHashMap<MapData, u32, Edge>,
    addrs: BpfHashMap<MapData, AddrKey, u32>,
    capacity: u32,
    names: Vec<SourceName>,
    ids: HashMap<SourceName, u32>,
    identities: HashMap<Identity, u32>,
    slots: Slots,
    /// How often names and identities have changed.
    revision: u64,
    ranges: Vec<UidRange>,
    /// Entries of each table of identities, and how many it holds.
    used: [u32; IDENTITIES],
    room: [u32; IDENTITIES],
}

/// Uids that belong to one source: those subordinate to a user (subuid(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct UidRange {
    first: u32,
    last: u32,
    source: u32,
}

impl Registry {
    /// Opens the maps and reads what they hold.
    ///
    /// # Errors
    ///
    /// They are not there, or cannot be read.
    pub(super) fn open(maps: &Generation) -> Result<Self, KernelError> {
        let mut registry = Self {
            sources: maps.open(MAP_SOURCES)?,
            uids: maps.open(MAP_UIDS)?,
            cgroups: maps.open(MAP_CGROUPS)?,
            netns: maps.open(MAP_NETNS)?,
            edges: maps.open(MAP_EDGES)?,
            addrs: maps.open(MAP_ADDRS)?,
            capacity: capacity(maps, MAP_SOURCES)?,
            names: Vec::new(),
            ids: HashMap::new(),
            identities: HashMap::new(),
            slots: Slots::new(capacity(maps, MAP_FLOWS)? / FLOWS_PER_DEVICE),
            revision: 0,
            ranges: Vec::new(),
            used: [0; IDENTITIES],
            room: [
                capacity(maps, MAP_UIDS)?,
                capacity(maps, MAP_CGROUPS)?,
                capacity(maps, MAP_NETNS)?,
                capacity(maps, MAP_EDGES)?,
                capacity(maps, MAP_ADDRS)?,
            ],
        };
        registry.read()?;
        Ok(registry)
    }

    fn read(&mut self) -> Result<(), KernelError> {
        // Ids are given out densely from 0, so the first free one ends the list.
        for id in 0..self.capacity {
            let info = self
                .sources
                .get(&id, 0)
                .map_err(KernelError::map(MAP_SOURCES))?;
            let Some(name) = decode(&info) else {
                break;
            };
            self.ids.insert(name.clone(), id);
            self.names.push(name);
        }
        for entry in self.uids.iter() {
            let (key, source) = entry.map_err(KernelError::map(MAP_UIDS))?;
            let first = u32::from_be_bytes(key.data());
            if key.prefix_len() == u32::BITS {
                self.identities.insert(Identity::Uid(first), source);
            } else {
                let host_bits = u32::MAX.checked_shr(key.prefix_len()).unwrap_or(0);
                self.ranges.push(UidRange {
                    first,
                    last: first | host_bits,
                    source,
                });
            }
        }
        for entry in self.cgroups.iter() {
            let (id, source) = entry.map_err(KernelError::map(MAP_CGROUPS))?;
            self.identities.insert(Identity::Cgroup(id), source);
        }
        for entry in self.netns.iter() {
            let (cookie, source) = entry.map_err(KernelError::map(MAP_NETNS))?;
            self.identities.insert(Identity::Netns(cookie), source);
        }
        for entry in self.edges.iter() {
            let (ifindex, edge) = entry.map_err(KernelError::map(MAP_EDGES))?;
            if edge.role == ROLE_EDGE {
                self.identities.insert(Identity::Edge(ifindex), edge.source);
            }
            self.slots.adopt(ifindex, edge.slot, edge.role);
        }
        for entry in self.addrs.iter() {
            let (key, source) = entry.map_err(KernelError::map(MAP_ADDRS))?;
            if let Some(net) = prefix::net_of(key.kind, key.id) {
                self.identities.insert(Identity::Addr(net), source);
            }
        }
        for identity in self.identities.keys() {
            count(&mut self.used, *identity, 1);
        }
        for range in &self.ranges {
            count(&mut self.used, Identity::Uid(range.first), 1);
        }
        Ok(())
    }

    /// Another number than before if a source has another name or another identity.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Registered sources with their ids.
    pub fn sources(&self) -> impl ExactSizeIterator<Item = (u32, &SourceName)> {
        self.names
            .iter()
            .enumerate()
            .map(|(id, name)| (id as u32, name))
    }

    /// The name of an id.
    pub fn name(&self, id: u32) -> Option<&SourceName> {
        self.names.get(id as usize)
    }

    /// The id of a name.
    pub fn id(&self, name: &SourceName) -> Option<u32> {
        self.ids.get(&stored(name)).copied()
    }

    /// Sources there is room for.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// How many identities a table holds, and how many fit.
    pub fn used(&self, table: Table) -> (u64, u64) {
        let of = |numbers: &[u32; IDENTITIES]| table.index().map_or(0, |index| numbers[index]);
        let used = match table {
            // Devices that are no single source's have no identity, and take their places.
            Table::Edges => self.slots.used().into(),
            _ => of(&self.used).into(),
        };
        (used, of(&self.room).into())
    }

    /// Whether an identity has its place in the kernel's table, or finds one.
    pub fn has_room_for(&self, identity: Identity) -> bool {
        let (used, room) = self.used(Table::of(identity));
        used < room
            || match identity {
                Identity::Edge(ifindex) => self.slots.role(ifindex).is_some(),
                _ => self.identities.contains_key(&identity),
            }
    }

    fn require_room_for(&self, identity: Identity) -> Result<(), KernelError> {
        let table = Table::of(identity);
        if self.has_room_for(identity) {
            Ok(())
        } else {
            Err(KernelError::Full(table.full(self.used(table).1)))
        }
    }

    /// Who an identity leads to.
    pub fn lookup(&self, identity: Identity) -> Option<u32> {
        let exact = self.identities.get(&identity).copied();
        match identity {
            Identity::Uid(uid) => exact.or_else(|| self.owner_of(uid)),
            Identity::Cgroup(_) | Identity::Netns(_) | Identity::Edge(_) | Identity::Addr(_) => {
                exact
            }
        }
    }

    /// The source that a uid is subordinate to.
    fn owner_of(&self, uid: u32) -> Option<u32> {
        let range = self
            .ranges
            .iter()
            .find(|range| (range.first..=range.last).contains(&uid));
        range.map(|range| range.source)
    }

    /// Makes all uids from `first` to `last` lead to a source, except those that lead to one of
    /// their own.
    ///
    /// # Errors
    ///
    /// The map is full or cannot be written.
    pub fn lead_uids(&mut self, first: u32, last: u32, source: u32) -> Result<(), KernelError> {
        let prefixes = prefixes(first, last);
        let (used, room) = self.used(Table::Uids);
        if used + prefixes.len() as u64 > room {
            return Err(KernelError::Full(Table::Uids.full(used)));
        }
        for (prefix, bits) in prefixes {
            self.uids
                .insert(&Key::new(bits, prefix.to_be_bytes()), source, 0)
                .map_err(KernelError::map(MAP_UIDS))?;
            count(&mut self.used, Identity::Uid(prefix), 1);
        }
        self.ranges.push(UidRange {
            first,
            last,
            source,
        });
        Ok(())
    }

    /// The identities that lead to a source, in order.
    pub fn identities(&self, id: u32) -> BTreeSet<Identity> {
        self.identities
            .iter()
            .filter(|(_, source)| **source == id)
            .map(|(identity, _)| *identity)
            .collect()
    }

    /// All identities of edges, namespaces and cgroups, with who they lead to.
    pub fn all_identities(&self) -> impl Iterator<Item = (Identity, u32)> {
        self.identities
            .iter()
            .map(|(identity, source)| (*identity, *source))
    }

    /// The id of a source, registering it if it is new.
    ///
    /// # Errors
    ///
    /// No room, or the map cannot be written.
    pub fn register(&mut self, name: &SourceName) -> Result<u32, KernelError> {
        let name = stored(name);
        if let Some(id) = self.ids.get(&name) {
            return Ok(*id);
        }
        let id = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        if id >= self.capacity {
            return Err(KernelError::Full(Table::Sources.full(self.capacity.into())));
        }
        self.sources
            .set(id, encode(&name), 0)
            .map_err(KernelError::map(MAP_SOURCES))?;
        self.ids.insert(name.clone(), id);
        self.names.push(name);
        self.revision += 1;
        Ok(id)
    }

    /// Gives the id of a source that never was anybody's to another, which is new.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn rename(&mut self, id: u32, name: &SourceName) -> Result<(), KernelError> {
        let name = stored(name);
        self.sources
            .set(id, encode(&name), 0)
            .map_err(KernelError::map(MAP_SOURCES))?;
        if let Some(known) = self.names.get_mut(id as usize) {
            self.ids.remove(known);
            known.clone_from(&name);
        }
        self.ids.insert(name, id);
        self.revision += 1;
        Ok(())
    }

    /// Makes an identity lead to a source. For a device
    /// only what [`Self::lead_edge`] does, as an Ethernet device.
    ///
    /// # Errors
    ///
    /// The map is full or cannot be written.
    pub fn lead(&mut self, identity: Identity, source: u32) -> Result<(), KernelError> {
        self.require_room_for(identity)?;
        match identity {
            Identity::Uid(uid) => self
                .uids
                .insert(&Key::new(u32::BITS, uid.to_be_bytes()), source, 0)
                .map_err(KernelError::map(MAP_UIDS))?,
            Identity::Cgroup(id) => {
                self.cgroups
                    .insert(id, source, 0)
                    .map_err(KernelError::map(MAP_CGROUPS))?;
            }
            Identity::Netns(cookie) => {
                self.netns
                    .insert(cookie, source, 0)
                    .map_err(KernelError::map(MAP_NETNS))?;
            }
            Identity::Edge(ifindex) => {
                return self.lead_edge(ifindex, source, flowguard_common::source::LINK_ETHERNET);
            }
            Identity::Addr(net) => {
                // Of another length than gateways have: nothing that could be seen.
                let Some(key) = addr_key(net) else {
                    return Ok(());
                };
                self.addrs
                    .insert(key, source, 0)
                    .map_err(KernelError::map(MAP_ADDRS))?;
            }
        }
        let before = self.identities.insert(identity, source);
        if before.is_none() {
            count(&mut self.used, identity, 1);
        }
        self.revision += u64::from(before != Some(source));
        Ok(())
    }

    /// Makes a device's packets a source's. Until [`Self::settle_edge`] the source's connect hooks
    /// go on counting, so the program can be attached in between without a gap.
    ///
    /// # Errors
    ///
    /// A map is full or cannot be written.
    pub fn lead_edge(&mut self, ifindex: u32, source: u32, link: u32) -> Result<(), KernelError> {
        self.require_room_for(Identity::Edge(ifindex))?;
        self.place(ifindex, source, link, ROLE_EDGE)?;
        match self.identities.insert(Identity::Edge(ifindex), source) {
            Some(before) if before != source => self.flag_edge(before),
            _ => Ok(()),
        }
    }

    /// Makes a device known whose packets are no single source's.
    ///
    /// # Errors
    ///
    /// The map is full or cannot be written.
    pub fn lead_shared(&mut self, ifindex: u32, link: u32, role: u32) -> Result<(), KernelError> {
        self.require_room_for(Identity::Edge(ifindex))?;
        self.place(ifindex, NO_SOURCE, link, role)
    }

    fn place(
        &mut self,
        ifindex: u32,
        source: u32,
        link: u32,
        role: u32,
    ) -> Result<(), KernelError> {
        let slot = self.slots.give(ifindex, role).ok_or_else(|| match role {
            ROLE_GATEWAY => KernelError::NoRoomForGateway,
            _ => KernelError::Full(Table::Edges.full(self.used(Table::Edges).1)),
        })?;
        let device = Edge {
            source,
            slot,
            link,
            role,
        };
        self.edges
            .insert(ifindex, device, 0)
            .map_err(KernelError::map(MAP_EDGES))
    }

    /// Forgets a device whose packets are no single source's.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn forget_shared(&mut self, ifindex: u32) -> Result<(), KernelError> {
        if !self.slots.take(ifindex) {
            return Ok(());
        }
        self.edges
            .remove(&ifindex)
            .map_err(KernelError::map(MAP_EDGES))
    }

    /// Devices of sources, with their parts of the `FLOWS` table.
    pub fn edge_slots(&self) -> impl Iterator<Item = (u32, u32)> {
        self.slots.iter().filter_map(|(ifindex, slot)| {
            Some((slot, *self.identities.get(&Identity::Edge(ifindex))?))
        })
    }

    /// The program is attached: the connect hooks leave the counting to the device.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn settle_edge(&mut self, ifindex: u32) -> Result<(), KernelError> {
        match self.lookup(Identity::Edge(ifindex)) {
            Some(source) => self.flag_edge(source),
            None => Ok(()),
        }
    }

    /// Forgets an identity.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn forget(&mut self, identity: Identity) -> Result<(), KernelError> {
        let Some(source) = self.identities.remove(&identity) else {
            return Ok(());
        };
        count(&mut self.used, identity, -1);
        self.revision += 1;
        match identity {
            Identity::Uid(uid) => self
                .uids
                .remove(&Key::new(u32::BITS, uid.to_be_bytes()))
                .map_err(KernelError::map(MAP_UIDS)),
            Identity::Cgroup(id) => self
                .cgroups
                .remove(&id)
                .map_err(KernelError::map(MAP_CGROUPS)),
            Identity::Netns(cookie) => self
                .netns
                .remove(&cookie)
                .map_err(KernelError::map(MAP_NETNS)),
            Identity::Edge(ifindex) => {
                // First the connect hooks take over counting, then the device goes.
                self.slots.take(ifindex);
                self.flag_edge(source)?;
                self.edges
                    .remove(&ifindex)
                    .map_err(KernelError::map(MAP_EDGES))
            }
            Identity::Addr(net) => match addr_key(net) {
                Some(key) => self.addrs.remove(&key).map_err(KernelError::map(MAP_ADDRS)),
                None => Ok(()),
            },
        }
    }

    /// Interface indices of all devices that are known, of one source or of many.
    pub fn devices(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().map(|(ifindex, _)| ifindex)
    }

    /// What a device is, `ROLE_*`; none: it is not known.
    pub fn role(&self, ifindex: u32) -> Option<u32> {
        self.slots.role(ifindex)
    }

    /// Sets or clears [`SOURCE_AT_EDGE`], by whether any device leads to the source.
    fn flag_edge(&mut self, source: u32) -> Result<(), KernelError> {
        let at_edge = self
            .identities
            .iter()
            .any(|(identity, of)| *of == source && matches!(identity, Identity::Edge(_)));
        let mut info = self
            .sources
            .get(&source, 0)
            .map_err(KernelError::map(MAP_SOURCES))?;
        let flags = if at_edge {
            info.flags | SOURCE_AT_EDGE
        } else {
            info.flags & !SOURCE_AT_EDGE
        };
        if flags == info.flags {
            return Ok(());
        }
        info.flags = flags;
        self.sources
            .set(source, info, 0)
            .map_err(KernelError::map(MAP_SOURCES))
    }
}

fn addr_key(net: IpNet) -> Option<AddrKey> {
    let (kind, id) = prefix::key_of(net)?;
    Some(AddrKey { id, kind, pad: 0 })
}

/// How many entries a map has room for.
fn capacity(maps: &Generation, name: &'static str) -> Result<u32, KernelError> {
    maps.raw(name).map(|map| map.shape.max_entries)
}

fn count(used: &mut [u32; IDENTITIES], identity: Identity, change: i32) {
    if let Some(used) = Table::of(identity)
        .index()
        .and_then(|index| used.get_mut(index))
    {
        *used = used.saturating_add_signed(change);
    }
}

/// The fewest prefixes that together are the numbers from `first` to `last`, with their lengths.
fn prefixes(first: u32, last: u32) -> Vec<(u32, u32)> {
    let mut prefixes = Vec::new();
    let (mut at, end) = (u64::from(first), u64::from(last) + 1);
    while at < end {
        let aligned = at.trailing_zeros().min(u32::BITS);
        let fits = (end - at).ilog2();
        let host_bits = aligned.min(fits);
        // Below 2^32, since `at` is below `end`.
        prefixes.push((at as u32, u32::BITS - host_bits));
        at += 1 << host_bits;
    }
    prefixes
}

/// The name as the map can hold it: a longer one is cut, with a hash of the whole at its end, so
/// that two long names stay two.
fn stored(name: &SourceName) -> SourceName {
    if name.name.len() <= NAME_BYTES {
        return name.clone();
    }
    let hash = name
        .name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            // FNV-1a: stable over versions, which the standard hasher is not.
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let suffix = format!("…{hash:016x}");
    let mut end = NAME_BYTES - suffix.len();
    while !name.name.is_char_boundary(end) {
        end -= 1;
    }
    SourceName {
        kind: name.kind,
        name: format!("{}{suffix}", &name.name[..end]),
    }
}

fn encode(name: &SourceName) -> SourceInfo {
    let bytes = name.name.as_bytes();
    let len = bytes.len().min(NAME_BYTES);
    let mut info = SourceInfo {
        since: u64::try_from(Timestamp::now().as_second()).unwrap_or(0),
        flags: 0,
        name_len: u16::try_from(len).unwrap_or(0),
        kind: name.kind as u8,
        pad: 0,
        name: [0; NAME_BYTES],
    };
    info.name[..len].copy_from_slice(&bytes[..len]);
    info
}

fn decode(info: &SourceInfo) -> Option<SourceName> {
    let bytes = info.name.get(..usize::from(info.name_len))?;
    if bytes.is_empty() {
        return None;
    }
    Some(SourceName {
        kind: Kind::from_u8(info.kind)?,
        name: String::from_utf8_lossy(bytes).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_names_stay_apart() {
        let a = stored(&SourceName::container(format!("{}a", "ü".repeat(300))));
        let b = stored(&SourceName::container(format!("{}b", "ü".repeat(300))));
        assert_ne!(a, b);
        assert!(a.name.len() <= NAME_BYTES);
        assert_eq!(stored(&a), a);
    }

    proptest! {
        #[test]
        fn prefixes_are_exactly_the_range(first: u32, more in 0_u32..200_000) {
            let last = first.saturating_add(more);
            let mut at = u64::from(first);
            for (prefix, bits) in prefixes(first, last) {
                prop_assert_eq!(u64::from(prefix), at);
                let size = 1_u64 << (u32::BITS - bits);
                prop_assert_eq!(at % size, 0);
                at += size;
            }
            prop_assert_eq!(at, u64::from(last) + 1);
        }

        #[test]
        fn names_survive_the_map(name in ".{1,400}") {
            let name = stored(&SourceName::user(name));
            prop_assert_eq!(decode(&encode(&name)), Some(name));
        }

        #[test]
        fn no_map_content_makes_it_panic(kind: u8, name_len: u16, fill: u8) {
            let info = SourceInfo { since: 0, flags: 0, name_len, kind, pad: 0, name: [fill; NAME_BYTES] };
            decode(&info);
        }
    }
}
