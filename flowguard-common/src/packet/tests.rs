//! Single packets, each with what is to be found in it.

use proptest::prelude::*;

use super::{
    ip::{AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, IPV4_MORE_FRAGMENTS, ROUTING},
    link::{IPV4 as ETHERTYPE_IPV4, QINQ as ETHERTYPE_QINQ, VLAN as ETHERTYPE_VLAN},
    upper::{TCP, UDP},
    *,
};
use crate::addr;

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
            pad: [0; 3],
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
    // Eight words are more than the packet holds: the payload is nothing, at its end.
    packet[48 + 12] = 0x80;
    let segment = parse_ip(&packet.as_slice()).segment;
    assert_eq!((segment.payload, segment.bytes), (71, 0));
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
fn no_bit_of_an_offset_is_missed() {
    for bit in 1..13 {
        assert_eq!(parse_ip(&v4(0, 1 << bit).as_slice()).kind, Kind::Other);
    }
    for bit in 3..16 {
        let [high, low] = (1_u16 << bit).to_be_bytes();
        let packet = v6(&[(FRAGMENT, vec![0, 0, high, low, 0, 0, 0, 0])]);
        assert_eq!(parse_ip(&packet.as_slice()).kind, Kind::Other);
    }
}

#[test]
fn a_packet_that_ends_in_its_own_header_is_unparsed() {
    let mut packet = v4(8, 0);
    packet[3] = 27;
    for protocol in [TCP, UDP, 1, 47] {
        packet[9] = protocol;
        assert_eq!(parse_ip(&packet.as_slice()).kind, Kind::Unparsed);
        assert_eq!(parse_ip(&&v6_to(protocol)[..39]).kind, Kind::Unparsed);
    }
}

fn v6_to(protocol: u8) -> Vec<u8> {
    let mut packet = v6(&[]);
    packet[6] = protocol;
    packet
}

#[test]
fn a_tcp_header_of_fewer_than_five_words_has_the_payload_behind_five() {
    let mut packet = v4(0, 0);
    packet[3] += 3;
    packet.extend(b"220");
    packet[32] = 0x40;
    let Packet { kind, segment } = parse_ip(&packet.as_slice());
    assert_eq!((kind, segment.payload, segment.bytes), (Kind::Tcp, 40, 3));
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
    let is_tunnel = |protocol, port: u16| {
        let mut packet = v4(0, 0);
        packet[9] = protocol;
        packet[22..24].copy_from_slice(&port.to_be_bytes());
        let mut behind = v6(&[(DESTINATION_OPTIONS, vec![0; 8])]);
        behind[40] = protocol;
        behind[50..52].copy_from_slice(&port.to_be_bytes());
        let [found, again] =
            [packet, behind].map(|packet| parse_ip(&packet.as_slice()).kind == Kind::Encapsulated);
        assert_eq!(found, again, "{protocol} {port}");
        found
    };
    let tunnels: Vec<u8> = (0..=u8::MAX)
        .filter(|protocol| is_tunnel(*protocol, 25))
        .collect();
    assert_eq!(tunnels, [4, 41, 47, 50, 97, 115, 137, 143]);
    let ports: Vec<u16> = (0..=u16::MAX)
        .filter(|port| is_tunnel(UDP, *port))
        .collect();
    assert_eq!(ports, [1701, 3544, 4500, 4754, 4789, 6081, 8472]);
    let types: Vec<u16> = (0..=u16::MAX)
        .filter(|ethertype| {
            let frame = ethernet(&[ETHERTYPE_VLAN], *ethertype);
            parse_ethernet(&frame.as_slice()).kind == Kind::Encapsulated
        })
        .collect();
    assert_eq!(types, [0x8847, 0x8848, 0x8864, 0x88e5, 0x88e7]);
}

#[test]
fn a_third_tag_is_not_followed() {
    let mut frame = ethernet(&[ETHERTYPE_QINQ, ETHERTYPE_VLAN, ETHERTYPE_VLAN], 0x0800);
    frame.extend(v4(0, 0));
    assert_eq!(parse_ethernet(&frame.as_slice()).kind, Kind::Unparsed);
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
