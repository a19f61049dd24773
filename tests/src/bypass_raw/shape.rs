//! The packets, from the IP header on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Subcommand, ValueEnum};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6Header, TcpHeader, UdpHeader};

/// RFC 7348, section 5.
const VXLAN_PORT: u16 = 4789;
/// A network of the tunnel's own, RFC 5737.
const INNER4: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
/// The same in IPv6, RFC 3849.
const INNER6: (Ipv6Addr, Ipv6Addr) = (
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2),
);
/// Bytes that a SYN to be cut carries, so that a fragment may end behind its header.
const CUT_PAYLOAD: [u8; 12] = *b"EHLO bypass\n";

/// One attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Where it comes from.
    pub src: IpAddr,
    /// Where it goes to.
    pub dst: IpAddr,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Initial sequence number.
    pub seq: u32,
}

/// How a SYN is dressed.
#[derive(Clone, Debug, Subcommand)]
pub enum Shape {
    /// As every stack does it.
    Plain,
    /// In two fragments; in IPv6 with a header of destination options before the TCP header.
    Fragments {
        /// Bytes of TCP in the first one, a multiple of 8.
        #[arg(long)]
        bytes: usize,
        /// What is sent of it.
        #[arg(long, default_value = "both")]
        part: Part,
    },
    /// Behind IPv6 extension headers of 8 bytes each.
    Chain {
        /// In their order.
        #[arg(long, value_delimiter = ',')]
        headers: Vec<Extension>,
    },
    /// In a tunnel to the destination.
    Inside {
        /// Its kind.
        tunnel: Inside,
    },
}

/// Which fragments are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The first.
    First,
    /// The second.
    Rest,
    /// First and second.
    Both,
}

/// An IPv6 extension header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Extension {
    /// Hop-by-hop options.
    Hop,
    /// Destination options.
    Dst,
    /// A fragment header that says that this is all of it (RFC 6946).
    Frag,
}

/// A tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Inside {
    /// RFC 2784.
    Gre,
    /// IPv4 in IP, RFC 2003.
    Ipip,
    /// IPv6 in IP, RFC 4213.
    Sixin4,
    /// RFC 7348.
    Vxlan,
}

impl Shape {
    /// The packets of one SYN.
    ///
    /// # Errors
    /// When the shape does not exist in that family.
    pub fn packets(&self, flow: &Flow) -> Result<Vec<Vec<u8>>> {
        match self {
            Self::Plain => Ok(vec![ip(flow, IpNumber::TCP, &syn(flow, &[])?)?]),
            Self::Fragments { bytes, part } => {
                let both = fragments(flow, *bytes)?;
                Ok(match part {
                    Part::First => both.into_iter().take(1).collect(),
                    Part::Rest => both.into_iter().skip(1).collect(),
                    Part::Both => both,
                })
            }
            Self::Chain { headers } => Ok(vec![chain(flow, headers)?]),
            Self::Inside { tunnel } => Ok(vec![inside(flow, *tunnel)?]),
        }
    }
}

impl Flow {
    /// The packet that completes the handshake with a peer that answered with `peer_seq`.
    ///
    /// # Errors
    /// When the addresses are of different families.
    pub fn acknowledgement(&self, peer_seq: u32) -> Result<Vec<u8>> {
        let mut header = TcpHeader::new(self.sport, self.dport, self.seq.wrapping_add(1), 64_000);
        header.ack = true;
        header.acknowledgment_number = peer_seq.wrapping_add(1);
        ip(self, IpNumber::TCP, &tcp(self, header, &[])?)
    }
}

fn syn(flow: &Flow, payload: &[u8]) -> Result<Vec<u8>> {
    let mut header = TcpHeader::new(flow.sport, flow.dport, flow.seq, 64_000);
    header.syn = true;
    tcp(flow, header, payload)
}

fn tcp(flow: &Flow, mut header: TcpHeader, payload: &[u8]) -> Result<Vec<u8>> {
    header.checksum = match (flow.src, flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            header.calc_checksum_ipv4_raw(src.octets(), dst.octets(), payload)?
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            header.calc_checksum_ipv6_raw(src.octets(), dst.octets(), payload)?
        }
        (src, dst) => bail!("{src} and {dst} are of different families"),
    };
    Ok([header.to_bytes().as_slice(), payload].concat())
}

fn ip(flow: &Flow, protocol: IpNumber, payload: &[u8]) -> Result<Vec<u8>> {
    match (flow.src, flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4(src, dst, protocol, payload, |_| ()),
        (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6(src, dst, protocol, payload),
        (src, dst) => bail!("{src} and {dst} are of different families"),
    }
}

fn ipv4(
    src: Ipv4Addr,
    dst: Ipv4Addr,
    protocol: IpNumber,
    payload: &[u8],
    change: impl FnOnce(&mut Ipv4Header),
) -> Result<Vec<u8>> {
    let length = payload.len().try_into()?;
    let mut header = Ipv4Header::new(length, 64, protocol, src.octets(), dst.octets())?;
    change(&mut header);
    header.header_checksum = header.calc_header_checksum();
    Ok([header.to_bytes().as_slice(), payload].concat())
}

fn ipv6(src: Ipv6Addr, dst: Ipv6Addr, next: IpNumber, payload: &[u8]) -> Result<Vec<u8>> {
    let header = Ipv6Header {
        payload_length: payload.len().try_into()?,
        next_header: next,
        hop_limit: 64,
        source: src.octets(),
        destination: dst.octets(),
        ..Ipv6Header::default()
    };
    Ok([header.to_bytes().as_slice(), payload].concat())
}

fn fragments(flow: &Flow, bytes: usize) -> Result<Vec<Vec<u8>>> {
    ensure!(bytes.is_multiple_of(8), "{bytes} is not a multiple of 8");
    let tcp = syn(flow, &CUT_PAYLOAD)?;
    match (flow.src, flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let (first, rest) = tcp.split_at_checked(bytes).context("too few bytes")?;
            let offset = IpFragOffset::try_new(u16::try_from(bytes / 8)?)?;
            let fragment = |payload, more, offset| {
                ipv4(src, dst, IpNumber::TCP, payload, |header| {
                    header.identification = flow.sport;
                    header.dont_fragment = false;
                    header.more_fragments = more;
                    header.fragment_offset = offset;
                })
            };
            Ok(vec![
                fragment(first, true, IpFragOffset::ZERO)?,
                fragment(rest, false, offset)?,
            ])
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let whole = [&options(IpNumber::TCP)[..], &tcp].concat();
            let (first, rest) = whole.split_at_checked(8 + bytes).context("too few bytes")?;
            let offset = u16::try_from(first.len())?;
            // RFC 8200, section 4.5: the offset in the upper 13 bits, "more" in the lowest.
            let fragment = |payload: &[u8], place: u16| {
                let [high, low] = place.to_be_bytes();
                let next = IpNumber::IPV6_DESTINATION_OPTIONS.0;
                let id = flow.seq.to_be_bytes();
                let header = [&[next, 0, high, low], &id[..], payload].concat();
                ipv6(src, dst, IpNumber::IPV6_FRAGMENTATION_HEADER, &header)
            };
            Ok(vec![fragment(first, 1)?, fragment(rest, offset)?])
        }
        (src, dst) => bail!("{src} and {dst} are of different families"),
    }
}

/// A header of options that are padding only (RFC 8200, section 4.2).
fn options(next: IpNumber) -> [u8; 8] {
    [next.0, 0, 1, 4, 0, 0, 0, 0]
}

fn chain(flow: &Flow, headers: &[Extension]) -> Result<Vec<u8>> {
    let mut payload = syn(flow, &[])?;
    let mut next = IpNumber::TCP;
    for header in headers.iter().rev() {
        let id = flow.seq.to_be_bytes();
        let (number, bytes) = match header {
            Extension::Hop => (IpNumber::IPV6_HEADER_HOP_BY_HOP, options(next)),
            Extension::Dst => (IpNumber::IPV6_DESTINATION_OPTIONS, options(next)),
            Extension::Frag => (
                IpNumber::IPV6_FRAGMENTATION_HEADER,
                [next.0, 0, 0, 0, id[0], id[1], id[2], id[3]],
            ),
        };
        payload = [&bytes[..], &payload].concat();
        next = number;
    }
    match (flow.src, flow.dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => ipv6(src, dst, next, &payload),
        (src, dst) => bail!("{src} and {dst} have no extension headers"),
    }
}

fn inside(flow: &Flow, tunnel: Inside) -> Result<Vec<u8>> {
    let inner = |src, dst| {
        let flow = Flow { src, dst, ..*flow };
        Shape::Plain.packets(&flow).map(|packets| packets.concat())
    };
    let four = inner(INNER4.0.into(), INNER4.1.into())?;
    match tunnel {
        Inside::Gre => ip(flow, IpNumber::GRE, &[&[0, 0, 8, 0], &four[..]].concat()),
        Inside::Ipip => ip(flow, IpNumber::IPV4, &four),
        Inside::Sixin4 => {
            let six = inner(INNER6.0.into(), INNER6.1.into())?;
            ip(flow, IpNumber::IPV6, &six)
        }
        Inside::Vxlan => {
            let vxlan = [8, 0, 0, 0, 0, 0, 7, 0];
            let ethernet = [2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 9, 8, 0];
            let payload = [&vxlan[..], &ethernet, &four].concat();
            let udp = UdpHeader::without_ipv4_checksum(flow.sport, VXLAN_PORT, payload.len())?;
            let datagram = [&udp.to_bytes()[..], &payload].concat();
            ip(flow, IpNumber::UDP, &datagram)
        }
    }
}
