//! What the crate `etherparse` says of a frame, for comparison with [`crate::packet`].

use std::{format, string::String};

use etherparse::{
    Ipv6ExtensionSlice, LaxIpv6Slice, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, TcpSlice,
    TransportSlice, err::Layer, ether_type,
};

use crate::{
    addr,
    packet::{self, Kind, MAX_EXTENSIONS, MAX_TAGS, Packet, Segment},
    source::LINK_IP,
};

/// An opinion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// There is a whole TCP header, and we must find this in it.
    Tcp(Segment),
    /// There is one, but we do not go there, on purpose.
    Beyond(Reason),
    /// It stops short of where one may be, and we go on, on purpose.
    Short(Stop),
    /// There is none.
    None,
}

/// Where we differ from `etherparse` by design.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It takes more tags, and tags of other kinds: MACsec, whose payload is not looked into, and
    /// 0x9100, which Linux does not take for a tag (`eth_type_vlan`, include/linux/if_vlan.h).
    Tags,
    /// It believes the version in the IP header against the Ethernet header. Linux drops that
    /// (`ip_rcv_core`, net/ipv4/ip_input.c).
    Version,
    /// It takes an IPv4 packet that says it is shorter than its header, and not 0, for one that
    /// does not know its length. Linux drops that (ibidem).
    Shorter,
    /// It follows any number of extension headers.
    Extensions,
}

/// Where `etherparse` stops and we go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It does not look into fragments; the first one shows its port.
    Fragment,
    /// A header that says it is too short or longer than the packet: the port and the flags are
    /// there, and who knows what the receiver makes of it.
    TcpHeader,
    /// Hop-by-hop options that are not the first extension, and an authentication header of no
    /// length: not worth a path more for the verifier, since no receiver takes such a packet.
    Extension,
}

/// What is to be found in a frame of a device with this link.
pub fn of(frame: &[u8], link: u32) -> Opinion {
    let sliced = if link == LINK_IP {
        LaxSlicedPacket::from_ip(frame).ok()
    } else {
        LaxSlicedPacket::from_ethernet(frame).ok()
    };
    let Some(sliced) = sliced else {
        return Opinion::None;
    };
    if !sliced.link_exts.iter().all(is_tag)
        || !tag_types(frame, sliced.link_exts.len()).all(is_known)
        || sliced.link_exts.len() > MAX_TAGS
    {
        return Opinion::Beyond(Reason::Tags);
    }
    let (Some(net), Some(TransportSlice::Tcp(tcp))) = (&sliced.net, &sliced.transport) else {
        return stop(&sliced).map_or(Opinion::None, Opinion::Short);
    };
    let wanted = match net {
        LaxNetSlice::Ipv4(_) => ether_type::IPV4,
        _ => ether_type::IPV6,
    };
    if sliced
        .ether_payload()
        .is_some_and(|payload| payload.ether_type != wanted)
    {
        return Opinion::Beyond(Reason::Version);
    }
    let (src, dst) = match net {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            let total = usize::from(header.total_len());
            if total != 0 && total < header.slice().len() {
                return Opinion::Beyond(Reason::Shorter);
            }
            (
                addr::from_v4(header.source()),
                addr::from_v4(header.destination()),
            )
        }
        LaxNetSlice::Ipv6(ip) => {
            if ip.extensions().clone().into_iter().count() > MAX_EXTENSIONS {
                return Opinion::Beyond(Reason::Extensions);
            }
            (ip.header().source(), true_destination(ip))
        }
        LaxNetSlice::Arp(_) => return Opinion::None,
    };
    Opinion::Tcp(segment(frame, tcp, src, dst))
}

/// Where `etherparse` finds a TCP header, so does our parser, with the same in it, and nowhere else;
/// and what it says of the payload is within the frame.
///
/// # Errors
///
/// What contradicts that.
pub fn compare(frame: &[u8], link: u32) -> Result<(), String> {
    let theirs = of(frame, link);
    let Packet { kind, segment } = packet::parse(&frame, link);
    let agrees = match theirs {
        Opinion::Tcp(expected) => kind == Kind::Tcp && segment == expected,
        Opinion::Beyond(_) | Opinion::None => kind != Kind::Tcp,
        Opinion::Short(_) => true,
    };
    let end = u64::from(segment.payload) + u64::from(segment.bytes);
    if agrees && end <= frame.len() as u64 {
        Ok(())
    } else {
        Err(format!(
            "etherparse: {theirs:?}; we: {kind:?} {segment:?}; of {frame:02x?}, link {link}"
        ))
    }
}

fn segment(frame: &[u8], tcp: &TcpSlice<'_>, src: addr::Addr, dst: addr::Addr) -> Segment {
    let payload = tcp.payload().as_ptr() as usize - frame.as_ptr() as usize;
    Segment {
        src,
        dst,
        sport: tcp.source_port(),
        dport: tcp.destination_port(),
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        payload: payload as u32,
        bytes: tcp.payload().len() as u32,
        flags: tcp.slice()[13],
        pad: [0; 3],
    }
}

/// Why there is no transport header.
fn stop(sliced: &LaxSlicedPacket<'_>) -> Option<Stop> {
    let payload = sliced.net.as_ref()?.ip_payload_ref()?;
    match sliced.stop_err {
        Some((_, Layer::TcpHeader)) => Some(Stop::TcpHeader),
        Some((_, Layer::Ipv6HopByHopHeader | Layer::IpAuthHeader)) => Some(Stop::Extension),
        _ if payload.fragmented => Some(Stop::Fragment),
        _ => None,
    }
}

/// The types of that many tags.
fn tag_types(frame: &[u8], tags: usize) -> impl Iterator<Item = Option<&[u8]>> {
    (0..tags).map(|tag| frame.get(12 + 4 * tag..14 + 4 * tag))
}

fn is_known(tag_type: Option<&[u8]>) -> bool {
    matches!(tag_type, Some([0x81, 0x00] | [0x88, 0xa8]))
}

fn is_tag(extension: &LaxLinkExtSlice<'_>) -> bool {
    matches!(extension, LaxLinkExtSlice::Vlan(_))
}

/// What the last routing header that leads on says, else the IP header.
fn true_destination(ip: &LaxIpv6Slice<'_>) -> addr::Addr {
    let mut destination = ip.header().destination();
    for extension in ip.extensions().clone() {
        if let Ipv6ExtensionSlice::Routing(header) = extension
            && let [_, _, 2 | 4, left, ..] = header.slice()
            && *left != 0
            && let Some(first) = header.slice().get(8..).and_then(<[u8]>::first_chunk)
        {
            destination = *first;
        }
    }
    destination
}
