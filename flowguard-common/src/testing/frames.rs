//! Frames as senders may make them, honest and other, whole, cut and damaged.

use std::net::Ipv6Addr;

use pcap_file::{PcapError, pcap::PcapReader};
use proptest::{collection::vec, option, prelude::*, sample::Index};

const VLAN: u16 = 0x8100;
const TCP: u8 = 6;

/// Recorded with `tcpdump -i eth0 -w smtp.pcap` at one end of a veth between two namespaces of Linux
/// 6.18: SMTP sessions over IPv4 (plain, with options, MPTCP, fast open), IPv6 and VXLAN; what the
/// bypass tests forge (tags, fragments, chains of extension headers, tunnels), by
/// `fg-bypass-raw --via frame`; a SYN with a segment routing header.
const RECORDED: &[u8] = include_bytes!("../../testdata/smtp.pcap");

/// Frames as Linux sends them, recorded.
///
/// # Errors
///
/// The recording is damaged.
pub fn recorded() -> Result<Vec<Vec<u8>>, PcapError> {
    let mut reader = PcapReader::new(RECORDED)?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet?.data.into_owned());
    }
    Ok(frames)
}

/// An Ethernet frame, as it was meant or not any more.
pub fn ethernet() -> impl Strategy<Value = Vec<u8>> {
    let mac = any::<[u8; 12]>();
    let tags = vec(
        (
            prop_oneof![20 => Just(VLAN), 20 => Just(0x88a8), 1 => Just(0x9100), 1 => Just(0x88e5)],
            any::<[u8; 2]>(),
        ),
        0..4,
    );
    let other = option::weighted(0.1, prop_oneof![Just(0x0800), Just(0x86dd), any::<u16>()]);
    let frame = (mac, tags, other, sound_ip()).prop_map(|(mac, tags, other, packet)| {
        let mut frame = mac.to_vec();
        for (kind, tag) in tags {
            frame.extend(kind.to_be_bytes());
            frame.extend(tag);
        }
        let own = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
        frame.extend(other.unwrap_or(own).to_be_bytes());
        frame.extend(packet);
        frame
    });
    damaged(frame)
}

/// A packet from its IP header on, as it was meant or not any more.
pub fn ip() -> impl Strategy<Value = Vec<u8>> {
    damaged(sound_ip())
}

/// Most frames as they are; others cut short, or with a few bytes changed, most of them in the
/// headers.
fn damaged(frame: impl Strategy<Value = Vec<u8>> + 'static) -> impl Strategy<Value = Vec<u8>> {
    let bytes = vec((any::<Index>(), any::<u8>()), 1..5);
    let bits = vec((0..80_usize, 0..8_u32), 1..4);
    (
        frame.boxed(),
        prop_oneof![3 => Just(None), 1 => any::<Index>().prop_map(Some)],
        option::weighted(0.2, bytes),
        option::weighted(0.2, bits),
    )
        .prop_map(|(mut frame, cut, bytes, bits)| {
            for (at, byte) in bytes.into_iter().flatten() {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            for (at, bit) in bits.into_iter().flatten() {
                if let Some(byte) = frame.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            if let Some(cut) = cut {
                frame.truncate(cut.index(frame.len()));
            }
            frame
        })
}

fn sound_ip() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![ipv4().boxed(), ipv6().boxed()]
}

/// What a packet says of its length against what it has.
#[derive(Clone, Copy, Debug)]
enum Length {
    Right,
    Zero,
    Less(u16),
    Any(u16),
}

impl Length {
    fn strategy() -> impl Strategy<Value = Self> {
        prop_oneof![
            12 => Just(Self::Right),
            2 => Just(Self::Zero),
            2 => (0..48_u16).prop_map(Self::Less),
            1 => any::<u16>().prop_map(Self::Any),
        ]
    }

    fn of(self, bytes: usize) -> [u8; 2] {
        let right = bytes as u16;
        match self {
            Self::Right => right,
            Self::Zero => 0,
            Self::Less(less) => right.saturating_sub(less),
            Self::Any(any) => any,
        }
        .to_be_bytes()
    }
}

fn ipv4() -> impl Strategy<Value = Vec<u8>> {
    let options = prop_oneof![3 => Just(0_u8), 1 => 1..11_u8];
    let fragment = prop_oneof![
        6 => Just(0_u16),
        2 => Just(0x4000),
        2 => Just(0x2000),
        1 => Just(0x0001),
        1 => any::<u16>(),
    ];
    let addresses = prop_oneof![
        9 => any::<[u8; 8]>(),
        1 => Just([10, 0, 0, 1, 127, 0, 0, 1]),
    ];
    let auth = option::weighted(0.1, extension_body(AUTHENTICATION));
    (
        options,
        fragment,
        addresses,
        auth,
        upper(),
        Length::strategy(),
        padding(),
    )
        .prop_map(
            |(options, fragment, addresses, auth, (protocol, upper), length, padding)| {
                let mut packet = vec![0x45 + options, 0, 0, 0, 0, 0];
                packet.extend(fragment.to_be_bytes());
                packet.extend([64, protocol, 0, 0]);
                packet.extend(addresses);
                packet.extend([1].repeat(usize::from(options) * 4));
                if let Some(mut body) = auth {
                    packet[9] = AUTHENTICATION;
                    body[0] = protocol;
                    packet.extend(body);
                }
                packet.extend(upper);
                let total = length.of(packet.len());
                packet[2..4].copy_from_slice(&total);
                packet.extend(padding);
                packet
            },
        )
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

fn ipv6() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        1 => Just(HOP_BY_HOP),
        2 => Just(ROUTING),
        2 => Just(FRAGMENT),
        1 => Just(AUTHENTICATION),
        3 => Just(DESTINATION_OPTIONS),
    ];
    let extension = number.prop_flat_map(|number| (Just(number), extension_body(number)));
    let chain = prop_oneof![3 => Just(Vec::new()), 4 => vec(extension.clone(), 1..5), 1 => vec(extension, 7..12)];
    let to_loopback = proptest::bool::weighted(0.1);
    let addresses = (any::<[u8; 32]>(), to_loopback).prop_map(|(mut addresses, to_loopback)| {
        if to_loopback {
            addresses[16..].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        }
        addresses
    });
    (chain, addresses, upper(), Length::strategy(), padding()).prop_map(
        |(chain, addresses, (protocol, upper), length, padding)| {
            let mut packet = vec![0x60, 0, 0, 0, 0, 0, 0, 64];
            packet.extend(addresses);
            let mut next_at = 6;
            for (number, body) in chain {
                packet[next_at] = number;
                next_at = packet.len();
                packet.extend(body);
            }
            packet[next_at] = protocol;
            packet.extend(upper);
            let payload = length.of(packet.len() - 40);
            packet[4..6].copy_from_slice(&payload);
            packet.extend(padding);
            packet
        },
    )
}

/// An extension header whose first byte, the number of the next, is still to be set.
fn extension_body(number: u8) -> BoxedStrategy<Vec<u8>> {
    match number {
        FRAGMENT => {
            let field = prop_oneof![
                3 => Just(0x0001_u16),
                2 => Just(0),
                1 => any::<u16>(),
            ];
            (any::<u8>(), field)
                .prop_map(|(reserved, field)| {
                    let [high, low] = field.to_be_bytes();
                    vec![0, reserved, high, low, 1, 2, 3, 4]
                })
                .boxed()
        }
        ROUTING => {
            let kind = prop_oneof![3 => Just(4_u8), 1 => Just(2), 1 => Just(0), 1 => any::<u8>()];
            (kind, 0..4_u8, vec(any::<[u8; 16]>(), 0..4))
                .prop_map(|(kind, left, addresses)| {
                    let mut body = vec![0, addresses.len() as u8 * 2, kind, left, 0, 0, 0, 0];
                    body.extend(addresses.concat());
                    body
                })
                .boxed()
        }
        AUTHENTICATION => (0..5_u8)
            .prop_map(|words| [vec![0, words], vec![7; (usize::from(words) + 2) * 4 - 2]].concat())
            .boxed(),
        _ => (0..4_u8)
            .prop_map(|units| [vec![0, units], vec![0; (usize::from(units) + 1) * 8 - 2]].concat())
            .boxed(),
    }
}

/// A protocol's number and its bytes.
fn upper() -> impl Strategy<Value = (u8, Vec<u8>)> {
    prop_oneof![
        10 => tcp().prop_map(|bytes| (TCP, bytes)).boxed(),
        2 => udp().prop_map(|bytes| (17, bytes)).boxed(),
        1 => (any::<u8>(), vec(any::<u8>(), 0..60)).boxed(),
        1 => (prop_oneof![Just(4_u8), Just(41), Just(47), Just(50), Just(115)], sound_inner()).boxed(),
    ]
}

/// Something that looks like a SYN, for tunnels.
fn sound_inner() -> impl Strategy<Value = Vec<u8>> {
    tcp().prop_map(|tcp| {
        let mut packet = vec![
            0x45, 0, 0, 60, 0, 0, 0, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 192, 0, 2, 1,
        ];
        packet.extend(tcp);
        packet
    })
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![
        6 => Just(25_u16),
        2 => Just(587),
        1 => Just(465),
        1 => Just(2525),
        2 => any::<u16>(),
    ]
}

fn tcp() -> impl Strategy<Value = Vec<u8>> {
    let flags = prop_oneof![6 => Just(0x02_u8), 2 => Just(0x12), 3 => Just(0x18), 2 => any::<u8>()];
    let words = prop_oneof![4 => Just(5_u8), 4 => 5..16_u8, 1 => 0..5_u8];
    let payload = prop_oneof![2 => Just(Vec::new()), 2 => vec(any::<u8>(), 0..200)];
    (
        any::<u16>(),
        port(),
        any::<[u8; 8]>(),
        words,
        flags,
        payload,
    )
        .prop_map(|(sport, dport, numbers, words, flags, payload)| {
            let mut bytes = sport.to_be_bytes().to_vec();
            bytes.extend(dport.to_be_bytes());
            bytes.extend(numbers);
            bytes.extend([words << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
            bytes.extend([1].repeat(usize::from(words.saturating_sub(5)) * 4));
            bytes.extend(payload);
            bytes
        })
}

fn udp() -> impl Strategy<Value = Vec<u8>> {
    let tunnel = prop_oneof![
        Just(4789_u16),
        Just(8472),
        Just(6081),
        Just(3544),
        any::<u16>()
    ];
    (any::<u16>(), tunnel, vec(any::<u8>(), 0..60)).prop_map(|(sport, dport, payload)| {
        let mut bytes = sport.to_be_bytes().to_vec();
        bytes.extend(dport.to_be_bytes());
        bytes.extend((payload.len() as u16 + 8).to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(payload);
        bytes
    })
}

/// What Ethernet adds to a short frame, and more.
fn padding() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![2 => Just(Vec::new()), 1 => vec(any::<u8>(), 0..30)]
}
