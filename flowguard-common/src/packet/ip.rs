//! The IP header, and the extension headers behind it.

use core::hint::black_box;

use super::{Frame, Kind, MAX_EXTENSIONS, Step, upper::TCP};
use crate::addr::Addr;

// https://www.iana.org/assignments/protocol-numbers
pub(super) const HOP_BY_HOP: u8 = 0;
pub(super) const ROUTING: u8 = 43;
pub(super) const FRAGMENT: u8 = 44;
pub(super) const AUTHENTICATION: u8 = 51;
pub(super) const DESTINATION_OPTIONS: u8 = 60;

const IPV4_BYTES: u32 = 20;
pub(super) const IPV4_MORE_FRAGMENTS: u16 = 0x2000;
const IPV4_FRAGMENT_OFFSET: u16 = 0x1fff;

const IPV6_BYTES: u32 = 40;
const IPV6_FRAGMENT_OFFSET: u16 = 0xfff8;

/// In what the two versions differ once the header is read, as numbers: the verifier then goes on
/// with one walk for both.
#[derive(Clone, Copy)]
struct Version {
    /// Bits of the protocol numbers that are extension headers; all are below 64.
    extensions: u64,
    /// Which of the sixteen bytes that end with an address belong to it.
    mask: u128,
    /// What the others are.
    prefix: u128,
}

/// An address is the last four of sixteen bytes, and mapped (see [`Addr`]).
const IPV4: Version = Version {
    extensions: 1 << AUTHENTICATION,
    mask: 0xffff_ffff,
    prefix: 0xffff_0000_0000,
};

/// RFC 8200, section 4; RFC 4302.
const IPV6: Version = Version {
    extensions: 1 << HOP_BY_HOP
        | 1 << ROUTING
        | 1 << FRAGMENT
        | 1 << AUTHENTICATION
        | 1 << DESTINATION_OPTIONS,
    mask: u128::MAX,
    prefix: 0,
};

/// What the IP headers say about what they carry.
pub(super) struct Upper {
    /// Protocol number.
    pub(super) protocol: u8,
    /// It is the first of several fragments.
    pub(super) is_fragment: bool,
    /// Where it begins.
    pub(super) at: u32,
    /// Where it ends: what the receiver takes for the packet, behind which may be padding, and at
    /// most the frame's end.
    pub(super) end: u32,
    version: Version,
    /// Where the addresses are, which are read last: to carry them along the extension headers
    /// would cost the verifier as much as the walk itself.
    src_at: u32,
    dst_at: u32,
}

impl Upper {
    /// The next `N` bytes, if they belong to the packet.
    #[inline(always)]
    pub(super) fn load<const N: usize>(&self, frame: &impl Frame) -> Option<[u8; N]> {
        if self.at + N as u32 > self.end {
            return None;
        }
        frame.load(self.at)
    }

    /// Source and destination.
    #[inline(always)]
    pub(super) fn addresses(&self, frame: &impl Frame) -> Option<(Addr, Addr)> {
        Some((
            self.version.address(frame.load(self.src_at)?),
            self.version.address(frame.load(self.dst_at)?),
        ))
    }
}

impl Version {
    #[inline(always)]
    fn address(&self, bytes: [u8; 16]) -> Addr {
        (u128::from_be_bytes(bytes) & self.mask | self.prefix).to_be_bytes()
    }

    #[inline(always)]
    fn extends(&self, protocol: u8) -> bool {
        protocol < 64 && self.extensions >> protocol & 1 != 0
    }
}

/// Goes along the IP headers from `at` on.
#[inline(always)]
pub(super) fn walk(frame: &impl Frame, version: u8, at: u32) -> Result<Upper, Kind> {
    let upper = if version == 4 {
        ipv4(frame, at)?
    } else {
        ipv6(frame, at)?
    };
    if upper.at > upper.end {
        return Err(Kind::Unparsed);
    }
    follow(frame, upper)
}

/// RFC 791, section 3.1.
#[inline(always)]
fn ipv4(frame: &impl Frame, at: u32) -> Result<Upper, Kind> {
    let header: [u8; IPV4_BYTES as usize] = frame.load(at).ok_or(Kind::Unparsed)?;
    let bytes = u32::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || bytes < IPV4_BYTES {
        return Err(Kind::Unparsed);
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    match fragment & IPV4_FRAGMENT_OFFSET {
        0 => {}
        // The second eight bytes of a TCP header hold its flags.
        1 if header[9] == TCP => return Err(Kind::HiddenPort),
        _ => return Err(Kind::Other),
    }
    let total = u16::from_be_bytes([header[2], header[3]]);
    Ok(Upper {
        protocol: header[9],
        is_fragment: fragment & IPV4_MORE_FRAGMENTS != 0,
        at: at + bytes,
        end: end(frame, at, total),
        version: IPV4,
        src_at: at,
        dst_at: at + 4,
    })
}

/// RFC 8200, section 3.
#[inline(always)]
fn ipv6(frame: &impl Frame, at: u32) -> Result<Upper, Kind> {
    let header: [u8; 8] = frame.load(at).ok_or(Kind::Unparsed)?;
    if header[0] >> 4 != 6 {
        return Err(Kind::Unparsed);
    }
    let payload = u16::from_be_bytes([header[4], header[5]]);
    Ok(Upper {
        protocol: header[6],
        is_fragment: false,
        at: at + IPV6_BYTES,
        end: end(frame, at + IPV6_BYTES, payload),
        version: IPV6,
        src_at: at + 8,
        dst_at: at + 24,
    })
}

/// Where something ends that is said to be `said` bytes long from `at` on. 0 stands for more than
/// the field can say: BIG TCP, and jumbograms (RFC 2675).
#[inline(always)]
fn end(frame: &impl Frame, at: u32, said: u16) -> u32 {
    let end = at + u32::from(said);
    if said == 0 || end > frame.bytes() {
        frame.bytes()
    } else {
        end
    }
}

/// Goes along extension headers to what is none.
///
/// The compiler, left to itself, makes a copy of this walk for each version and each step, with
/// what it knows there, and the verifier then goes along each copy by itself: 813,372 instructions
/// instead of some 5,000 (Linux 6.18). What it cannot see into, it leaves in one piece. A step is a
/// call, since verifiers before Linux 6.2 do not see that two ways through it come to the same, and
/// go along each way through all that follow: more than a million instructions.
#[inline(always)]
fn follow(frame: &impl Frame, mut upper: Upper) -> Result<Upper, Kind> {
    upper.version.extensions = black_box(upper.version.extensions);
    for _ in 0..MAX_EXTENSIONS {
        upper.protocol = black_box(upper.protocol);
        if !upper.version.extends(upper.protocol) {
            break;
        }
        let next = frame.step(Step {
            at: upper.at,
            end: upper.end,
            protocol: upper.protocol,
            is_fragment: upper.is_fragment,
            leads_on: false,
            kind: Kind::Tcp,
        });
        if next.kind != Kind::Tcp {
            return Err(next.kind);
        }
        if next.leads_on {
            upper.dst_at = upper.at + 8;
        }
        upper.at = next.at;
        upper.protocol = next.protocol;
        upper.is_fragment = next.is_fragment;
    }
    if upper.version.extends(upper.protocol) {
        return Err(Kind::HiddenPort);
    }
    Ok(upper)
}

/// Passes one extension header.
#[inline(always)]
pub fn step(frame: &impl Frame, from: Step) -> Step {
    let ends = |kind| Step { kind, ..from };
    let header = if from.at + 4 > from.end {
        None
    } else {
        frame.load(from.at)
    };
    let Some([following, units, kind, left]) = header else {
        // RFC 7112: the first fragment must hold the whole chain.
        return ends(if from.is_fragment {
            Kind::HiddenPort
        } else {
            Kind::Unparsed
        });
    };
    let (mut is_fragment, mut leads_on_now) = (from.is_fragment, false);
    let bytes = match from.protocol {
        FRAGMENT => {
            if u16::from_be_bytes([kind, left]) & IPV6_FRAGMENT_OFFSET != 0 {
                return ends(Kind::Other);
            }
            is_fragment = true;
            8
        }
        // RFC 4302, section 2.2: in units of 4 bytes, minus 2.
        AUTHENTICATION => (u32::from(units) + 2) * 4,
        ROUTING => {
            leads_on_now = leads_on(kind, units, left);
            (u32::from(units) + 1) * 8
        }
        _ => (u32::from(units) + 1) * 8,
    };
    Step {
        at: from.at + bytes,
        end: from.end,
        protocol: following,
        is_fragment,
        leads_on: leads_on_now,
        kind: Kind::Tcp,
    }
}

/// Whether the first address that a routing header lists is where the packet goes in the end: type
/// 2 (RFC 6275, section 6.4) and segment routing (RFC 8754, section 2). Type 0 is not forwarded
/// (RFC 5095).
#[inline(always)]
fn leads_on(kind: u8, units: u8, left: u8) -> bool {
    left != 0 && units >= 2 && matches!(kind, 2 | 4)
}
