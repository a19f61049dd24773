//! Where the IP header is.

use super::{Frame, Kind, MAX_TAGS};

const ETHERTYPE_AT: u32 = 12;

// https://www.iana.org/assignments/ieee-802-numbers
pub(super) const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
pub(super) const VLAN: u16 = 0x8100;
pub(super) const QINQ: u16 = 0x88a8;

/// RFC 5332, section 3.
const MPLS: u16 = 0x8847;
/// The same, for a label that the sender's neighbour did not choose.
const MPLS_UPSTREAM: u16 = 0x8848;
/// PPP over Ethernet, once a session is up (RFC 2516, section 4).
const PPPOE: u16 = 0x8864;
/// IEEE 802.1AE, clause 9.
const MACSEC: u16 = 0x88e5;
/// A whole frame behind a provider's tag (IEEE 802.1ah).
const BACKBONE: u16 = 0x88e7;

/// The version that the IP header must have, and where it is.
type Start = (u8, u32);

/// Behind an Ethernet header and its tags.
#[inline(always)]
pub(super) fn ethernet(frame: &impl Frame) -> Result<Start, Kind> {
    let mut at = ETHERTYPE_AT;
    let mut ethertype = load_type(frame, at)?;
    for _ in 0..MAX_TAGS {
        if !is_tag(ethertype) {
            break;
        }
        at += 4;
        ethertype = load_type(frame, at)?;
    }
    match ethertype {
        IPV4 => Ok((4, at + 2)),
        IPV6 => Ok((6, at + 2)),
        VLAN | QINQ => Err(Kind::Unparsed),
        MPLS | MPLS_UPSTREAM | PPPOE | MACSEC | BACKBONE => Err(Kind::Encapsulated),
        _ => Err(Kind::Other),
    }
}

#[inline(always)]
fn load_type(frame: &impl Frame, at: u32) -> Result<u16, Kind> {
    frame.load(at).map(u16::from_be_bytes).ok_or(Kind::Other)
}

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, VLAN | QINQ)
}

/// At once, as on devices without a link layer: the header says which version it is.
#[inline(always)]
pub(super) fn bare(frame: &impl Frame) -> Result<Start, Kind> {
    let [first] = frame.load(0).ok_or(Kind::Other)?;
    match first >> 4 {
        version @ (4 | 6) => Ok((version, 0)),
        _ => Err(Kind::Other),
    }
}
