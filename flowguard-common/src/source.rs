//! Sources as the kernel knows them: dense ids, the keys that lead to them, and their names.

use crate::{
    addr::{self, Addr},
    counters::ClassCounters,
    fanout::Fanout,
};

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

/// An element of the `EDGES` map: a device that programs are attached to, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Edge {
    /// Source id; [`crate::event::NO_SOURCE`] unless `role` is [`ROLE_EDGE`].
    pub source: u32,
    /// Which part of the `FLOWS` array is this device's; unique among live devices. The first of
    /// [`crate::gateway::GATEWAY_SLOTS`] parts, if `role` is [`ROLE_GATEWAY`].
    pub slot: u32,
    /// [`LINK_ETHERNET`] or [`LINK_IP`].
    pub link: u32,
    /// `ROLE_*`.
    pub role: u32,
}

/// The host's side of a container's veth or a VM's tap.
pub const ROLE_EDGE: u32 = 0;
/// The host's own way to the world.
pub const ROLE_UPLINK: u32 = 1;
/// A device through which tenants' traffic enters, each told by its address.
pub const ROLE_GATEWAY: u32 = 2;

/// Frames on the device start with an Ethernet header.
pub const LINK_ETHERNET: u32 = 0;
/// Frames on the device start with an IP header, as on a tun.
pub const LINK_IP: u32 = 1;

/// The identity is a uid of the host.
pub const KEY_UID: u32 = 0;
/// The identity is a network namespace cookie.
pub const KEY_NETNS: u32 = 1;
/// With the length of the prefix added: the identity is an IPv4 prefix at a gateway; see
/// [`prefix_key`].
pub const KEY_ADDR4: u32 = 0x40;
/// The same of an IPv6 prefix.
pub const KEY_ADDR6: u32 = 0x80;

/// Longest prefix of an IPv4 address.
pub const MAX_BITS4: u32 = 32;
/// Longest prefix of an IPv6 address that is told from others: what one customer gets, or less.
pub const MAX_BITS6: u32 = 64;

/// What an address counts as at a gateway: kind and id of its prefix. The kind tells the length as
/// well, so that nobody inherits from a prefix of another. An IPv4 id is the masked address, an
/// IPv6 id the upper half of it.
#[inline(always)]
pub fn prefix_key(addr: &Addr, bits4: u32, bits6: u32) -> (u32, u64) {
    let [high, low] = addr::halves(addr);
    if addr::is_v4(addr) {
        let ignored = MAX_BITS4.saturating_sub(bits4) & 31;
        let kept = (low & 0xffff_ffff) >> ignored << ignored;
        (KEY_ADDR4 + (MAX_BITS4 - ignored), kept)
    } else {
        let ignored = MAX_BITS6.saturating_sub(bits6) & 63;
        (
            KEY_ADDR6 + (MAX_BITS6 - ignored),
            high >> ignored << ignored,
        )
    }
}

/// Key of the `ADDRS` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AddrKey {
    /// Id of [`prefix_key`].
    pub id: u64,
    /// Kind of [`prefix_key`].
    pub kind: u32,
    /// Zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<AddrKey>() == 16);

/// Key of the `FALLBACK` map: an identity that nobody registered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FallbackKey {
    /// uid, namespace cookie, or prefix.
    pub id: u64,
    /// `KEY_*`; below 256, which is the room it has on its way between programs' functions.
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn prefixes_are_what_ipnet_says(v4: u32, bits4 in 1_u32..=32, v6: u128, bits6 in 1_u32..=64) {
            let v6 = v6 | 1 << 127;
            let addr = Ipv4Addr::from(v4).to_ipv6_mapped().octets();
            let mask = u32::MAX.checked_shl(32 - bits4).unwrap_or(0);
            prop_assert_eq!(prefix_key(&addr, bits4, bits6), (KEY_ADDR4 + bits4, u64::from(v4 & mask)));
            let addr = Ipv6Addr::from(v6).octets();
            let mask = u64::MAX.checked_shl(64 - bits6).unwrap_or(0);
            prop_assert_eq!(prefix_key(&addr, bits4, bits6), (KEY_ADDR6 + bits6, (v6 >> 64) as u64 & mask));
        }
    }
}
