//! Sources as the kernel knows them: dense ids, the keys that lead to them, and their names.

use crate::{counters::ClassCounters, fanout::Fanout};

/// What sort of tenant a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A user of the host.
    User = 0,
    /// A container, or any other cgroup the operator treats as one tenant.
    Container = 1,
    /// A VM's tap or a veth nobody else claims.
    Iface = 2,
    /// An address, on gateways.
    Addr = 3,
}

impl Kind {
    /// The kind of a number found in a map.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::User),
            1 => Some(Self::Container),
            2 => Some(Self::Iface),
            3 => Some(Self::Addr),
            _ => None,
        }
    }

    /// The word before the colon: `user:alice`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Container => "container",
            Self::Iface => "iface",
            Self::Addr => "addr",
        }
    }
}

/// Longest name of a source, in bytes.
pub const NAME_BYTES: usize = 240;

/// The source's packets are seen at an edge device, which therefore counts them.
pub const SOURCE_AT_EDGE: u32 = 1;

/// An element of the `SOURCES` array: who a source id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SourceInfo {
    /// Wall clock of the registration, seconds since 1970.
    pub since: u64,
    /// `SOURCE_*` bits.
    pub flags: u32,
    /// Bytes of `name` in use; 0: the id is free.
    pub name_len: u16,
    /// [`Kind`].
    pub kind: u8,
    /// Zero.
    pub pad: u8,
    /// UTF-8 name, as the owner gave it: escape it before printing.
    pub name: [u8; NAME_BYTES],
}

const _: () = assert!(size_of::<SourceInfo>() == 256);

/// An element of the `EDGES` map: whose device this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Edge {
    /// Source id.
    pub source: u32,
    /// Which part of the `SYNS` array is this device's; unique among live devices.
    pub slot: u32,
    /// [`LINK_ETHERNET`] or [`LINK_IP`].
    pub link: u32,
    /// Zero.
    pub pad: u32,
}

/// Frames on the device start with an Ethernet header.
pub const LINK_ETHERNET: u32 = 0;
/// Frames on the device start with an IP header, as on a tun.
pub const LINK_IP: u32 = 1;

/// The identity is a uid of the host.
pub const KEY_UID: u32 = 0;
/// The identity is a network namespace cookie.
pub const KEY_NETNS: u32 = 1;

/// Key of the `FALLBACK` map: an identity that nobody registered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FallbackKey {
    /// uid or namespace cookie.
    pub id: u64,
    /// [`KEY_UID`] or [`KEY_NETNS`].
    pub kind: u32,
    /// [`crate::class::Class`].
    pub class: u32,
}

const _: () = assert!(size_of::<FallbackKey>() == 16);

/// An element of the `FALLBACK` map: what an unregistered identity did in a class. A source that
/// is fast from its first packet must not lose its first destinations as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct FallbackEntry {
    /// As for a registered source.
    pub counters: ClassCounters,
    /// As for a registered source, which goes on from here.
    pub fanout: Fanout,
    /// Bucket of the ceiling, from which that of the registered source goes on.
    pub ceiling: u64,
}

const _: () =
    assert!(size_of::<FallbackEntry>() == size_of::<ClassCounters>() + size_of::<Fanout>() + 8);
