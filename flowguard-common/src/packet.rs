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
pub enum Parsed {
    /// A TCP segment, or the first fragment of one.
    Tcp(Segment),
    /// Not TCP, or a later fragment.
    Other,
    /// An IP packet whose headers could not be followed: truncated, or more extension headers
    /// than [`MAX_EXTENSIONS`].
    Unparsed,
}

/// Extension headers of an IPv6 packet that are followed.
pub const MAX_EXTENSIONS: usize = 8;
/// VLAN tags that are followed: one and QinQ's second (IEEE 802.1ad).
pub const MAX_TAGS: usize = 2;

const TCP_SYN: u8 = 0x02;
const TCP_RST: u8 = 0x04;
const TCP_ACK: u8 = 0x10;

const ETHERNET_BYTES: u32 = 14;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

// https://www.iana.org/assignments/protocol-numbers
const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

const IPV4_FRAGMENT_OFFSET: u16 = 0x1fff;
const IPV6_FRAGMENT_OFFSET: u16 = 0xfff8;

/// Parses an Ethernet frame.
#[inline(always)]
pub fn parse_ethernet(frame: &impl Frame) -> Parsed {
    let Some(mut ethertype) = frame.load(12).map(u16::from_be_bytes) else {
        return Parsed::Other;
    };
    let mut offset = ETHERNET_BYTES;
    for _ in 0..MAX_TAGS {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        let Some(inner) = frame.load(offset + 2).map(u16::from_be_bytes) else {
            return Parsed::Other;
        };
        ethertype = inner;
        offset += 4;
    }
    match ethertype {
        ETHERTYPE_IPV4 => or_unparsed(ipv4(frame, offset)),
        ETHERTYPE_IPV6 => or_unparsed(ipv6(frame, offset)),
        _ => Parsed::Other,
    }
}

/// Parses a packet that starts with its IP header, as on devices without a link layer.
#[inline(always)]
pub fn parse_ip(frame: &impl Frame) -> Parsed {
    match frame.load::<1>(0) {
        Some([first]) if first >> 4 == 4 => or_unparsed(ipv4(frame, 0)),
        Some([first]) if first >> 4 == 6 => or_unparsed(ipv6(frame, 0)),
        _ => Parsed::Other,
    }
}

#[inline(always)]
fn or_unparsed(parsed: Option<Parsed>) -> Parsed {
    parsed.unwrap_or(Parsed::Unparsed)
}

/// RFC 791, section 3.1.
#[inline(always)]
fn ipv4(frame: &impl Frame, offset: u32) -> Option<Parsed> {
    let header: [u8; 20] = frame.load(offset)?;
    let bytes = u32::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || bytes < 20 {
        return None;
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if header[9] != TCP || fragment & IPV4_FRAGMENT_OFFSET != 0 {
        return Some(Parsed::Other);
    }
    let src = addr::from_v4([header[12], header[13], header[14], header[15]]);
    let dst = addr::from_v4([header[16], header[17], header[18], header[19]]);
    tcp(frame, offset + bytes, src, dst)
}

/// RFC 8200, sections 3 and 4.
#[inline(always)]
fn ipv6(frame: &impl Frame, offset: u32) -> Option<Parsed> {
    let [version] = frame.load(offset)?;
    if version >> 4 != 6 {
        return None;
    }
    let [mut next] = frame.load(offset + 6)?;
    let src: Addr = frame.load(offset + 8)?;
    let dst: Addr = frame.load(offset + 24)?;
    let mut at = offset + 40;
    for _ in 0..=MAX_EXTENSIONS {
        match next {
            TCP => return tcp(frame, at, src, dst),
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let [following, units] = frame.load(at)?;
                next = following;
                at += (u32::from(units) + 1) * 8;
            }
            // RFC 4302, section 2.2: in units of 4 bytes, minus 2.
            AUTHENTICATION => {
                let [following, units] = frame.load(at)?;
                next = following;
                at += (u32::from(units) + 2) * 4;
            }
            FRAGMENT => {
                let [following, _, high, low] = frame.load(at)?;
                if u16::from_be_bytes([high, low]) & IPV6_FRAGMENT_OFFSET != 0 {
                    return Some(Parsed::Other);
                }
                next = following;
                at += 8;
            }
            _ => return Some(Parsed::Other),
        }
    }
    None
}

/// RFC 9293, section 3.1; the fields after the flags are not needed.
#[inline(always)]
fn tcp(frame: &impl Frame, offset: u32, src: Addr, dst: Addr) -> Option<Parsed> {
    let [s0, s1, d0, d1, q0, q1, q2, q3, _, _, _, _, _, flags] = frame.load(offset)?;
    Some(Parsed::Tcp(Segment {
        src,
        dst,
        sport: u16::from_be_bytes([s0, s1]),
        dport: u16::from_be_bytes([d0, d1]),
        seq: u32::from_be_bytes([q0, q1, q2, q3]),
        flags,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SYN: [u8; 20] = [
        0x9c, 0x40, 0, 25, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0,
    ];

    fn expected(src: Addr, dst: Addr) -> Parsed {
        Parsed::Tcp(Segment {
            src,
            dst,
            sport: 40_000,
            dport: 25,
            seq: 0x0102_0304,
            flags: 2,
        })
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
                    parse_ethernet(&frame.as_slice()),
                    want,
                    "{options} {tags:?}"
                );
            }
            assert_eq!(parse_ip(&v4(options, 0).as_slice()), want);
        }
    }

    #[test]
    fn later_fragments_and_other_protocols_are_other() {
        assert_eq!(parse_ip(&v4(0, 1).as_slice()), Parsed::Other);
        assert_eq!(
            parse_ip(&v6(&[(FRAGMENT, vec![0, 0, 0, 8, 0, 0, 0, 0])]).as_slice()),
            Parsed::Other
        );
        let mut udp = v4(0, 0);
        udp[9] = 17;
        assert_eq!(parse_ip(&udp.as_slice()), Parsed::Other);
        assert_eq!(
            parse_ethernet(&ethernet(&[], 0x0806).as_slice()),
            Parsed::Other
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
        assert_eq!(parse_ip(&v6(&[]).as_slice()), want);
        assert_eq!(parse_ip(&v6(&[hop, long, auth, fragment]).as_slice()), want);
    }

    #[test]
    fn too_many_extension_headers_are_unparsed() {
        let hop = (DESTINATION_OPTIONS, vec![0; 8]);
        let want = expected([0xaa; 16], [0xbb; 16]);
        assert_eq!(
            parse_ip(&v6(&vec![hop.clone(); MAX_EXTENSIONS]).as_slice()),
            want
        );
        assert_eq!(
            parse_ip(&v6(&vec![hop; MAX_EXTENSIONS + 1]).as_slice()),
            Parsed::Unparsed
        );
    }

    #[test]
    fn truncation_never_finds_a_port() {
        let packet = v4(4, 0);
        for length in 0..24 + 14 {
            let parsed = parse_ip(&packet.get(..length).unwrap());
            assert!(!matches!(parsed, Parsed::Tcp(_)), "{length}: {parsed:?}");
        }
        assert!(matches!(parse_ip(&packet.as_slice()), Parsed::Tcp(_)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            parse_ethernet(&bytes.as_slice());
            parse_ip(&bytes.as_slice());
        }
    }
}
