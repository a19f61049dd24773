//! From the bytes of a frame to the TCP segment in it.
//!
//! One parser for all packet hooks. It reads through [`Frame`], so that the same code walks a
//! slice on the host and an `skb` in the kernel, and it trusts no length field: every read is
//! checked against the frame.
//!
//! The verifier walks every path that it cannot tell to be like one it walked before, so the code
//! keeps paths few: one read a step, one walk for both IP versions, and what a step finds out goes
//! into numbers instead of branches.

mod ip;
mod link;
mod step;
mod upper;

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod tests;

pub use self::{ip::step, step::Step};
use crate::{addr::Addr, source::LINK_IP};

/// Something that bytes can be read from.
pub trait Frame {
    /// How many bytes there are.
    fn bytes(&self) -> u32;

    /// The `N` bytes at `offset`, if the frame has them.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// One step along extension headers. In the kernel it is a function that the verifier checks
    /// once, by itself.
    #[inline(always)]
    fn step(&self, from: Step) -> Step
    where
        Self: Sized,
    {
        step(self, from)
    }
}

impl Frame for &[u8] {
    fn bytes(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = offset as usize;
        self.get(start..start.checked_add(N)?)?.try_into().ok()
    }
}

/// What is looked at of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port, host order.
    pub sport: u16,
    /// Destination port, host order.
    pub dport: u16,
    /// Sequence number, host order.
    pub seq: u32,
    /// Acknowledgement number, host order; 0 where the header is cut short.
    pub ack: u32,
    /// Where in the frame the payload begins.
    pub payload: u32,
    /// Bytes of payload: what the headers say and the frame has.
    pub bytes: u32,
    /// The flag byte of the TCP header (RFC 9293, section 3.1).
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 3],
}

const _: () = assert!(size_of::<Segment>() == 56);

impl Segment {
    /// Whether this opens a connection: SYN without ACK and RST.
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        self.flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A TCP segment, or a first fragment with all of its header.
    Tcp = 0,
    /// Not TCP, or a later fragment.
    Other = 1,
    /// A first fragment whose flags do not show, but where it goes does: a TCP header cut short
    /// (RFC 1858). No honest stack sends this, so it is taken to open a connection.
    HiddenFlags = 2,
    /// Made so that filters do not see the port: a first fragment without a TCP header (RFC 7112),
    /// a second one that would overwrite the flags, or more extension headers than
    /// [`MAX_EXTENSIONS`]. No honest stack sends this.
    HiddenPort = 3,
    /// A tunnel's packet, which is not looked into.
    Encapsulated = 4,
    /// An IP packet that is shorter than it says, or makes no sense; one behind more than
    /// [`MAX_TAGS`] tags.
    Unparsed = 5,
}

impl Kind {
    /// The kind of the number that a program's function returned.
    #[inline(always)]
    pub const fn from_code(code: u32) -> Self {
        match code {
            0 => Self::Tcp,
            2 => Self::HiddenFlags,
            3 => Self::HiddenPort,
            4 => Self::Encapsulated,
            5 => Self::Unparsed,
            _ => Self::Other,
        }
    }
}

/// What is known of a frame. One shape for every kind, all of it initialised: the verifier
/// rejects the copying of an enum whose payload may be unset ("R1 !read_ok", Linux 6.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it holds.
    pub kind: Kind,
    /// The segment, if `kind` is [`Kind::Tcp`] or [`Kind::HiddenFlags`]; else of no meaning.
    pub segment: Segment,
}

impl Packet {
    /// Of a frame that has no segment.
    #[inline(always)]
    pub const fn of(kind: Kind) -> Self {
        Self {
            kind,
            segment: Segment {
                src: [0; 16],
                dst: [0; 16],
                sport: 0,
                dport: 0,
                seq: 0,
                ack: 0,
                payload: 0,
                bytes: 0,
                flags: 0,
                pad: [0; 3],
            },
        }
    }
}

/// Extension headers of an IP packet that are followed.
pub const MAX_EXTENSIONS: usize = 8;
/// VLAN tags that are followed: one and QinQ's second (IEEE 802.1ad).
pub const MAX_TAGS: usize = 2;

const TCP_SYN: u8 = 0x02;
const TCP_RST: u8 = 0x04;
const TCP_ACK: u8 = 0x10;

/// Parses a frame of a device of which [`crate::source::Edge::link`] is known.
#[inline(always)]
pub fn parse(frame: &impl Frame, link: u32) -> Packet {
    let start = if link == LINK_IP {
        link::bare(frame)
    } else {
        link::ethernet(frame)
    };
    start
        .and_then(|(version, at)| ip::walk(frame, version, at))
        .and_then(|upper| upper::packet(frame, &upper))
        .unwrap_or_else(Packet::of)
}

/// Parses an Ethernet frame.
#[inline(always)]
pub fn parse_ethernet(frame: &impl Frame) -> Packet {
    parse(frame, crate::source::LINK_ETHERNET)
}

/// Parses a packet that starts with its IP header, as on devices without a link layer.
#[inline(always)]
pub fn parse_ip(frame: &impl Frame) -> Packet {
    parse(frame, LINK_IP)
}
