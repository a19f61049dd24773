//! From the bytes of a frame to the TCP segment in it.
//!
//! One parser for all packet hooks. It reads through [`Frame`], so that the same code walks a
//! slice on the host and an `skb` in the kernel, and it trusts no length field: every read is
//! checked against the frame.

use crate::addr::{self, Addr};

/// Something that bytes can be read from.
pub trait Frame {
    /// The `N` bytes at `offset`, if the frame has them.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
}

impl Frame for &[u8] {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = offset as usize;
        self.get(start..start.checked_add(N)?)?.try_into().ok()
    }
}

/// What is looked at of a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Bytes of payload by what the headers say; the frame may be shorter.
    pub bytes: u32,
    /// The flag byte of the TCP header (RFC 9293, section 3.1).
    pub flags: u8,
}

impl Segment {
    /// Whether this opens a connection: SYN without ACK and RST.
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        self.flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP segment, or a first fragment with all of its header.
    Tcp,
    /// Not TCP, or a later fragment.
    Other,
    /// A first fragment whose flags do not show, but where it goes does: a TCP header cut short
    /// (RFC 1858). No honest stack sends this, so it is taken to open a connection.
    HiddenFlags,
    /// Made so that filters do not see the port: a first fragment without a TCP header (RFC 7112),
    /// a second one that would overwrite the flags, or more extension headers than
    /// [`MAX_EXTENSIONS`]. No honest stack sends this.
    HiddenPort,
    /// A tunnel's packet, which is not looked into: GRE, IP in IP, VXLAN.
    Encapsulated,
    /// An IP packet that is shorter than it says, or makes no sense.
    Unparsed,
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
    #[inline(always)]
    const fn of(kind: Kind) -> Self {
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
            },
        }
    }
}

/// Extension headers of an IPv6 packet that are followed.
pub const MAX_EXTENSIONS: usize = 8;
/// VLAN tags that are followed: one and QinQ's second (IEEE 802.1ad).
pub const MAX_TAGS: usize = 2;

const TCP_SYN: u8 = 0x02;
const TCP_RST: u8 = 0x04;
const TCP_ACK: u8 = 0x10;
/// Without options (RFC 9293, section 3.1).
const TCP_BYTES: u32 = 20;

const ETHERNET_BYTES: u32 = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

// https://www.iana.org/assignments/protocol-numbers
const HOP_BY_HOP: u8 = 0;
const IP_IN_IP: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6_IN_IP: u8 = 41;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const GRE: u8 = 47;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

// https://www.iana.org/assignments/service-names-port-numbers
const VXLAN_PORT: u16 = 4789;

const IPV4_MORE_FRAGMENTS: u16 = 0x2000;
const IPV4_FRAGMENT_OFFSET: u16 = 0x1fff;
const IPV6_FRAGMENT_OFFSET: u16 = 0xfff8;

/// Routing headers whose first listed address is the final destination: type 2 (RFC 6275,
/// section 6.4) and segment routing (RFC 8754, section 2). Type 0 is not forwarded (RFC 5095).
const ROUTING_TO_FIRST: [u8; 2] = [2, 4];

/// Parses an Ethernet frame.
#[inline(always)]
pub fn parse_ethernet(frame: &impl Frame) -> Packet {
    let Some(mut ethertype) = frame.load(12).map(u16::from_be_bytes) else {
        return Packet::of(Kind::Other);
    };
    let mut offset = ETHERNET_BYTES;
    for _ in 0..MAX_TAGS {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        let Some(inner) = frame.load(offset + 2).map(u16::from_be_bytes) else {
            return Packet::of(Kind::Other);
        };
        ethertype = inner;
        offset += 4;
    }
    match ethertype {
        ETHERTYPE_IPV4 => or_unparsed(ipv4(frame, offset)),
        ETHERTYPE_IPV6 => or_unparsed(ipv6(frame, offset)),
        _ => Packet::of(Kind::Other),
    }
}

/// Parses a packet that starts with its IP header, as on devices without a link layer.
#[inline(always)]
pub fn parse_ip(frame: &impl Frame) -> Packet {
    match frame.load::<1>(0) {
        Some([first]) if first >> 4 == 4 => or_unparsed(ipv4(frame, 0)),
        Some([first]) if first >> 4 == 6 => or_unparsed(ipv6(frame, 0)),
        _ => Packet::of(Kind::Other),
    }
}

#[inline(always)]
fn or_unparsed(parsed: Option<Packet>) -> Packet {
    parsed.unwrap_or(Packet::of(Kind::Unparsed))
}

/// RFC 791, section 3.1.
#[inline(always)]
fn ipv4(frame: &impl Frame, offset: u32) -> Option<Packet> {
    let header: [u8; 20] = frame.load(offset)?;
    let bytes = u32::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || bytes < 20 {
        return None;
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let upper = Upper {
        protocol: header[9],
        at: offset + bytes,
        // What the receiver takes for the packet; behind it may be padding. 0: larger than the
        // field can say (BIG TCP).
        bytes: match u16::from_be_bytes([header[2], header[3]]) {
            0 => u32::MAX,
            total => u32::from(total).saturating_sub(bytes),
        },
        is_fragment: fragment & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET) != 0,
        src: addr::from_v4([header[12], header[13], header[14], header[15]]),
        dst: addr::from_v4([header[16], header[17], header[18], header[19]]),
    };
    match fragment & IPV4_FRAGMENT_OFFSET {
        0 => upper.parse(frame),
        // The second eight bytes of a TCP header hold its flags.
        1 if upper.protocol == TCP => Some(Packet::of(Kind::HiddenPort)),
        _ => Some(Packet::of(Kind::Other)),
    }
}

/// RFC 8200, sections 3 and 4.
#[inline(always)]
fn ipv6(frame: &impl Frame, offset: u32) -> Option<Packet> {
    let header: [u8; 8] = frame.load(offset)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let mut upper = Upper {
        protocol: header[6],
        at: offset + 40,
        bytes: 0,
        is_fragment: false,
        src: frame.load(offset + 8)?,
        dst: frame.load(offset + 24)?,
    };
    let end = match u16::from_be_bytes([header[4], header[5]]) {
        // A jumbogram (RFC 2675), or larger than the field can say.
        0 => u32::MAX,
        payload => upper.at + u32::from(payload),
    };
    for _ in 0..=MAX_EXTENSIONS {
        upper.bytes = end.saturating_sub(upper.at);
        let next = match upper.protocol {
            HOP_BY_HOP | DESTINATION_OPTIONS => upper.skip(frame, 1, 8),
            // RFC 4302, section 2.2: in units of 4 bytes, minus 2.
            AUTHENTICATION => upper.skip(frame, 2, 4),
            ROUTING => upper.route(frame),
            FRAGMENT => {
                let found = upper.fragment(frame);
                if matches!(found, Some(Step::Done)) {
                    return Some(Packet::of(Kind::Other));
                }
                found
            }
            _ => return upper.parse(frame),
        };
        if next.is_none() {
            // RFC 7112: the first fragment must hold the whole chain.
            return upper.is_fragment.then_some(Packet::of(Kind::HiddenPort));
        }
    }
    Some(Packet::of(Kind::HiddenPort))
}

/// What an IP header, or one of its extensions, says about what follows it.
struct Upper {
    protocol: u8,
    at: u32,
    bytes: u32,
    is_fragment: bool,
    src: Addr,
    dst: Addr,
}

/// How the walk along extension headers goes on.
enum Step {
    Next,
    Done,
}

impl Upper {
    /// Goes past an extension header whose length is `(field + plus) * unit`.
    #[inline(always)]
    fn skip(&mut self, frame: &impl Frame, plus: u32, unit: u32) -> Option<Step> {
        let [following, units] = self.load(frame)?;
        self.protocol = following;
        self.at += (u32::from(units) + plus) * unit;
        Some(Step::Next)
    }

    /// Goes past a routing header, and learns from it where the packet goes in the end.
    #[inline(always)]
    fn route(&mut self, frame: &impl Frame) -> Option<Step> {
        let [_, units, kind, left] = self.load(frame)?;
        if left != 0 && units >= 2 && ROUTING_TO_FIRST.contains(&kind) {
            self.dst = frame.load(self.at + 8)?;
        }
        self.skip(frame, 1, 8)
    }

    /// Goes past a fragment header; done if this is not the first fragment.
    #[inline(always)]
    fn fragment(&mut self, frame: &impl Frame) -> Option<Step> {
        let [following, _, high, low] = self.load(frame)?;
        if u16::from_be_bytes([high, low]) & IPV6_FRAGMENT_OFFSET != 0 {
            return Some(Step::Done);
        }
        self.is_fragment = true;
        self.protocol = following;
        self.at += 8;
        Some(Step::Next)
    }

    #[inline(always)]
    fn load<const N: usize>(&self, frame: &impl Frame) -> Option<[u8; N]> {
        if self.bytes < N as u32 {
            return None;
        }
        frame.load(self.at)
    }

    /// Looks at what the IP headers carry.
    #[inline(always)]
    fn parse(&self, frame: &impl Frame) -> Option<Packet> {
        match self.protocol {
            TCP => self.tcp(frame),
            IP_IN_IP | IPV6_IN_IP | GRE => Some(Packet::of(Kind::Encapsulated)),
            UDP => {
                let [_, _, high, low] = self.load(frame)?;
                Some(Packet::of(
                    if u16::from_be_bytes([high, low]) == VXLAN_PORT {
                        Kind::Encapsulated
                    } else {
                        Kind::Other
                    },
                ))
            }
            _ => Some(Packet::of(Kind::Other)),
        }
    }

    /// RFC 9293, section 3.1; the fields after the flags are not needed.
    #[inline(always)]
    fn tcp(&self, frame: &impl Frame) -> Option<Packet> {
        if self.bytes >= TCP_BYTES {
            let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, words, flags] =
                self.load(frame)?;
            let header = u32::from(words >> 4) * 4;
            return Some(Packet {
                kind: Kind::Tcp,
                segment: Segment {
                    ack: u32::from_be_bytes([a0, a1, a2, a3]),
                    payload: self.at + header,
                    bytes: self.bytes.saturating_sub(header),
                    ..self.segment([s0, s1, d0, d1, q0, q1, q2, q3], flags)
                },
            });
        }
        if !self.is_fragment {
            return None;
        }
        Some(match self.load(frame) {
            Some(start) => Packet {
                kind: Kind::HiddenFlags,
                segment: self.segment(start, TCP_SYN),
            },
            None => Packet::of(Kind::HiddenPort),
        })
    }

    #[inline(always)]
    fn segment(&self, [s0, s1, d0, d1, q0, q1, q2, q3]: [u8; 8], flags: u8) -> Segment {
        Segment {
            src: self.src,
            dst: self.dst,
            sport: u16::from_be_bytes([s0, s1]),
            dport: u16::from_be_bytes([d0, d1]),
            seq: u32::from_be_bytes([q0, q1, q2, q3]),
            ack: 0,
            payload: 0,
            bytes: 0,
            flags,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SYN: [u8; 20] = [
        0x9c, 0x40, 0, 25, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0,
    ];

    const HIDDEN: Packet = Packet::of(Kind::HiddenPort);

    fn expected(src: Addr, dst: Addr) -> Packet {
        Packet {
            kind: Kind::Tcp,
            segment: Segment {
                src,
                dst,
                sport: 40_000,
                dport: 25,
                seq: 0x0102_0304,
                ack: 0,
                payload: 0,
                bytes: 0,
                flags: 2,
            },
        }
    }

    /// Without where the payload is, which depends on all headers before it.
    fn placeless(mut packet: Packet) -> Packet {
        packet.segment.payload = 0;
        packet.segment.bytes = 0;
        packet
    }

    fn placeless_ip(frame: &impl Frame) -> Packet {
        placeless(parse_ip(frame))
    }

    fn placeless_ethernet(frame: &impl Frame) -> Packet {
        placeless(parse_ethernet(frame))
    }

    #[test]
    fn the_payload_is_behind_all_headers_and_ends_with_the_ip_packet() {
        let mut packet = v4(4, 0);
        packet.extend(b"220 ready");
        packet[3] += 7;
        let segment = parse_ip(&packet.as_slice()).segment;
        assert_eq!((segment.payload, segment.bytes), (44, 7));
        let mut packet = v6(&[(HOP_BY_HOP, vec![0; 8])]);
        packet.extend(b"220");
        packet[5] += 3;
        // With eight words, four of them options, less is left than nothing.
        packet[48 + 12] = 0x80;
        let segment = parse_ip(&packet.as_slice()).segment;
        assert_eq!((segment.payload, segment.bytes), (48 + 32, 0));
    }

    fn ethernet(tags: &[u16], ethertype: u16) -> Vec<u8> {
        let mut frame = vec![0; 12];
        for tag in tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0, 7]);
        }
        frame.extend(ethertype.to_be_bytes());
        frame
    }

    fn v4(options: usize, fragment: u16) -> Vec<u8> {
        let mut packet = vec![0; 20 + options];
        packet[0] = 0x40 | (5 + options / 4) as u8;
        packet[3] = (40 + options) as u8;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet[9] = TCP;
        packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
        packet[16..20].copy_from_slice(&[192, 0, 2, 1]);
        packet.extend(SYN);
        packet
    }

    fn v6(extensions: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x60;
        packet[8..24].fill(0xaa);
        packet[24..40].fill(0xbb);
        let mut next_at = 6;
        for (number, body) in extensions {
            packet[next_at] = *number;
            next_at = packet.len();
            packet.extend(body);
        }
        packet[next_at] = TCP;
        packet.extend(SYN);
        let payload = packet.len() as u16 - 40;
        packet[4..6].copy_from_slice(&payload.to_be_bytes());
        packet
    }

    /// The first `bytes` of an IPv4 packet's TCP part as a fragment, in a padded frame.
    fn tiny_v4(bytes: u8) -> Vec<u8> {
        let mut packet = v4(0, IPV4_MORE_FRAGMENTS);
        packet[3] = 20 + bytes;
        packet
    }

    #[test]
    fn ipv4_is_found_behind_options_and_tags() {
        let want = expected(addr::from_v4([10, 0, 0, 1]), addr::from_v4([192, 0, 2, 1]));
        for options in [0, 4, 40] {
            for tags in [
                &[][..],
                &[ETHERTYPE_VLAN],
                &[ETHERTYPE_QINQ, ETHERTYPE_VLAN],
            ] {
                let mut frame = ethernet(tags, ETHERTYPE_IPV4);
                frame.extend(v4(options, 0x2000));
                assert_eq!(
                    placeless_ethernet(&frame.as_slice()),
                    want,
                    "{options} {tags:?}"
                );
            }
            assert_eq!(placeless_ip(&v4(options, 0).as_slice()), want);
        }
    }

    #[test]
    fn later_fragments_and_other_protocols_are_other() {
        assert_eq!(placeless_ip(&v4(0, 2).as_slice()).kind, Kind::Other);
        assert_eq!(
            placeless_ip(&v6(&[(FRAGMENT, vec![0, 0, 0, 8, 0, 0, 0, 0])]).as_slice()).kind,
            Kind::Other
        );
        let mut udp = v4(0, 0);
        udp[9] = 17;
        assert_eq!(placeless_ip(&udp.as_slice()).kind, Kind::Other);
        assert_eq!(
            placeless_ethernet(&ethernet(&[], 0x0806).as_slice()).kind,
            Kind::Other
        );
    }

    #[test]
    fn ipv6_extension_headers_are_walked() {
        let want = expected([0xaa; 16], [0xbb; 16]);
        let hop = (HOP_BY_HOP, vec![0; 8]);
        let mut long = (DESTINATION_OPTIONS, vec![0; 24]);
        long.1[1] = 2;
        let fragment = (FRAGMENT, vec![0, 0, 0, 1, 0, 0, 0, 1]);
        let auth = (AUTHENTICATION, [vec![0, 4], vec![0; 22]].concat());
        assert_eq!(placeless_ip(&v6(&[]).as_slice()), want);
        assert_eq!(
            placeless_ip(&v6(&[hop, long, auth, fragment]).as_slice()),
            want
        );
    }

    #[test]
    fn too_many_extension_headers_hide() {
        let hop = (DESTINATION_OPTIONS, vec![0; 8]);
        let want = expected([0xaa; 16], [0xbb; 16]);
        let most = v6(&vec![hop.clone(); MAX_EXTENSIONS]);
        assert_eq!(placeless_ip(&most.as_slice()), want);
        let more = v6(&vec![hop; MAX_EXTENSIONS + 1]);
        assert_eq!(placeless_ip(&more.as_slice()), HIDDEN);
    }

    #[test]
    fn the_true_destination_is_that_of_the_routing_header() {
        let mut segments = (ROUTING, vec![0; 8 + 32]);
        segments.1[1] = 4;
        segments.1[2] = 4;
        segments.1[3] = 1;
        segments.1[8..24].fill(0xcc);
        let routed =
            |segments: &(u8, Vec<u8>)| placeless_ip(&v6(std::slice::from_ref(segments)).as_slice());
        assert_eq!(routed(&segments), expected([0xaa; 16], [0xcc; 16]));
        // At the last segment the header's destination is the true one.
        segments.1[3] = 0;
        assert_eq!(routed(&segments), expected([0xaa; 16], [0xbb; 16]));
    }

    #[test]
    fn tiny_first_fragments_hide() {
        let tcp = expected(addr::from_v4([10, 0, 0, 1]), addr::from_v4([192, 0, 2, 1]));
        let cut = Packet {
            kind: Kind::HiddenFlags,
            ..tcp
        };
        for (bytes, want) in [(20, tcp), (19, cut), (8, cut), (4, HIDDEN)] {
            assert_eq!(placeless_ip(&tiny_v4(bytes).as_slice()), want, "{bytes}");
        }
        assert_eq!(placeless_ip(&v4(0, 1).as_slice()), HIDDEN);
        let more = (FRAGMENT, vec![0, 0, 0, 1, 0, 0, 0, 1]);
        let whole = v6(std::slice::from_ref(&more));
        assert_eq!(placeless_ip(&whole.as_slice()).kind, Kind::Tcp);
        let mut cut = whole;
        cut[5] -= 1;
        assert_eq!(placeless_ip(&cut.as_slice()).kind, Kind::HiddenFlags);
        // The chain goes on in the next fragment.
        let mut chain = v6(&[more, (DESTINATION_OPTIONS, vec![0; 8])]);
        chain.truncate(48);
        chain[5] = 8;
        assert_eq!(placeless_ip(&chain.as_slice()), HIDDEN);
    }

    #[test]
    fn tunnels_are_noticed() {
        for protocol in [IP_IN_IP, IPV6_IN_IP, GRE] {
            let mut packet = v4(0, 0);
            packet[9] = protocol;
            assert_eq!(placeless_ip(&packet.as_slice()).kind, Kind::Encapsulated);
            let mut packet = v6(&[]);
            packet[6] = protocol;
            assert_eq!(placeless_ip(&packet.as_slice()).kind, Kind::Encapsulated);
        }
        let mut vxlan = v4(0, 0);
        vxlan[9] = UDP;
        assert_eq!(placeless_ip(&vxlan.as_slice()).kind, Kind::Other);
        vxlan[22..24].copy_from_slice(&VXLAN_PORT.to_be_bytes());
        assert_eq!(placeless_ip(&vxlan.as_slice()).kind, Kind::Encapsulated);
    }

    #[test]
    fn truncation_never_finds_a_port() {
        let packet = v4(4, 0);
        for length in 0..24 + 14 {
            let parsed = placeless_ip(&packet.get(..length).unwrap());
            assert_ne!(parsed.kind, Kind::Tcp, "{length}: {parsed:?}");
        }
        assert_eq!(placeless_ip(&packet.as_slice()).kind, Kind::Tcp);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            placeless_ethernet(&bytes.as_slice());
            placeless_ip(&bytes.as_slice());
        }
    }
}
