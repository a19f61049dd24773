//! What the kernel says about network interfaces: pure decoding of rtnetlink messages
//! (rtnetlink(7), `include/uapi/linux/if_link.h`).
//!
//! Only the attributes that are used are decoded. An interface with an attribute that is newer
//! than this program, or with a name that is not UTF-8, must not go unseen.

use nix::libc;
use rtnetlink::{
    packet_core::{
        NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
        NetlinkHeader, NetlinkMessage, NlaBuffer, NlasIterator, parse_i32, parse_u32,
    },
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        link::{LinkHeader, LinkLayerType, LinkMessage},
    },
};

/// Bytes of `struct ifinfomsg`, which come before the attributes.
const HEADER: usize = 16;
/// Netlink aligns messages to this many bytes.
const ALIGN: usize = 4;

/// What sort of network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// One end of a pair of virtual Ethernet devices, usually of a container.
    Veth,
    /// A tun or tap device, usually of a VM.
    Tun,
    /// Anything else.
    Other,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Its index in this network namespace.
    pub ifindex: u32,
    /// Its present name, unescaped.
    pub name: String,
    /// What sort it is.
    pub kind: LinkKind,
    /// A veth's other end: its index in the namespace where that end is.
    pub peer_ifindex: Option<u32>,
    /// Where the device it depends on (a veth's other end) is: this namespace's number for that
    /// namespace. None: in this one.
    pub peer_nsid: Option<i32>,
    /// Its packets begin with an Ethernet header (`ARPHRD_ETHER`).
    pub has_ethernet: bool,
}

/// A message of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// An interface exists, and is like this.
    Link(Link),
    /// An interface left this namespace.
    LinkGone { ifindex: u32 },
    /// An address was added, changed or removed.
    Address,
    /// The dump is interrupted: what it lists is from before and after a change.
    DumpInterrupted { sequence: u32 },
    /// The dump is complete, or failed with an errno.
    DumpDone { sequence: u32, errno: i32 },
    /// A request failed.
    Error { sequence: u32, errno: i32 },
}

/// Decodes what was received at once. What makes no sense is left out.
pub(super) fn decode(datagram: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut rest = datagram;
    while let Ok(buffer) = NetlinkBuffer::new_checked(rest) {
        let sequence = buffer.sequence_number();
        if buffer.flags() & NLM_F_DUMP_INTR != 0 {
            messages.push(Message::DumpInterrupted { sequence });
        }
        messages.extend(message(buffer.message_type(), sequence, buffer.payload()));
        let length = (buffer.length() as usize).next_multiple_of(ALIGN);
        rest = rest.get(length..).unwrap_or_default();
    }
    messages
}

fn message(kind: u16, sequence: u32, payload: &[u8]) -> Option<Message> {
    // Both begin with an errno, negated; an old kernel's NLMSG_DONE may be empty.
    let errno = || parse_i32(payload.get(..4)?).ok().map(i32::wrapping_neg);
    match kind {
        NLMSG_DONE => Some(Message::DumpDone {
            sequence,
            errno: errno().unwrap_or(0),
        }),
        NLMSG_ERROR => Some(Message::Error {
            sequence,
            errno: errno()?,
        }),
        libc::RTM_NEWLINK => link(payload).map(Message::Link),
        libc::RTM_DELLINK => Some(Message::LinkGone {
            ifindex: link_header(payload)?.index,
        }),
        libc::RTM_NEWADDR | libc::RTM_DELADDR => Some(Message::Address),
        _ => None,
    }
}

/// Bridges report the coming and going of their ports as links of family `AF_BRIDGE`: that is
/// about the bridge, not about the interface.
fn link_header(payload: &[u8]) -> Option<LinkHeader> {
    LinkHeader::parse(payload)
        .ok()
        .filter(|header| header.interface_family == AddressFamily::Unspec)
}

fn link(payload: &[u8]) -> Option<Link> {
    let header = link_header(payload)?;
    let mut link = Link {
        ifindex: header.index,
        name: String::new(),
        kind: LinkKind::Other,
        peer_ifindex: None,
        peer_nsid: None,
        has_ethernet: header.link_layer_type == LinkLayerType::Ether,
    };
    for attribute in attributes(payload.get(HEADER..)?) {
        let value = attribute.value();
        match attribute.kind() {
            libc::IFLA_IFNAME => link.name = text(value),
            libc::IFLA_LINK => link.peer_ifindex = parse_u32(value).ok(),
            libc::IFLA_LINK_NETNSID => link.peer_nsid = parse_i32(value).ok(),
            libc::IFLA_LINKINFO => link.kind = link_kind(value),
            _ => {}
        }
    }
    // For other kinds it is the device below: a VLAN's, for instance.
    link.peer_ifindex = link.peer_ifindex.filter(|_| link.kind == LinkKind::Veth);
    Some(link)
}

fn link_kind(info: &[u8]) -> LinkKind {
    let kind = attributes(info)
        .find(|attribute| attribute.kind() == libc::IFLA_INFO_KIND)
        .map(|attribute| text(attribute.value()));
    match kind.as_deref() {
        Some("veth") => LinkKind::Veth,
        Some("tun") => LinkKind::Tun,
        _ => LinkKind::Other,
    }
}

fn attributes(bytes: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(bytes).map_while(Result::ok)
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
}

/// Asks for one interface, or for all of them.
pub(super) fn link_request(sequence: u32, ifindex: Option<u32>) -> Vec<u8> {
    let mut link = LinkMessage::default();
    link.header.index = ifindex.unwrap_or(0);
    request(
        sequence,
        if ifindex.is_some() { 0 } else { NLM_F_DUMP },
        RouteNetlinkMessage::GetLink(link),
    )
}

/// The bytes of a request.
pub(super) fn request(sequence: u32, flags: u16, message: RouteNetlinkMessage) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.sequence_number = sequence;
    header.flags = NLM_F_REQUEST | flags;
    let mut message = NetlinkMessage::new(header, message.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo};

    fn veth() -> Link {
        Link {
            ifindex: 7,
            name: "veth7".to_owned(),
            kind: LinkKind::Veth,
            peer_ifindex: Some(2),
            peer_nsid: Some(0),
            has_ethernet: true,
        }
    }

    /// The same, as the kernel would say it.
    fn veth_message() -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.attributes = vec![
            LinkAttribute::IfName("veth7".to_owned()),
            LinkAttribute::Mtu(1500),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
            LinkAttribute::LinkNetNsId(0),
            LinkAttribute::Link(2),
        ];
        message
    }

    fn bytes(flags: u16, message: RouteNetlinkMessage) -> Vec<u8> {
        request(5, flags, message)
    }

    #[test]
    fn a_veth_is_decoded() {
        let datagram = bytes(0, RouteNetlinkMessage::NewLink(veth_message()));
        assert_eq!(decode(&datagram), [Message::Link(veth())]);
    }

    #[test]
    fn a_tap_is_decoded_and_a_vlan_has_no_peer() {
        let mut tap = veth_message();
        tap.attributes = vec![LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Tun)])];
        let mut vlan = veth_message();
        vlan.header.link_layer_type = LinkLayerType::Loopback;
        vlan.attributes[2] = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan)]);
        let datagram = [
            bytes(0, RouteNetlinkMessage::NewLink(tap)),
            bytes(0, RouteNetlinkMessage::NewLink(vlan)),
        ]
        .concat();
        let expected = [
            Message::Link(Link {
                name: String::new(),
                kind: LinkKind::Tun,
                peer_ifindex: None,
                peer_nsid: None,
                ..veth()
            }),
            Message::Link(Link {
                kind: LinkKind::Other,
                peer_ifindex: None,
                has_ethernet: false,
                ..veth()
            }),
        ];
        assert_eq!(decode(&datagram), expected);
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_not_gone() {
        let mut port = veth_message();
        port.header.interface_family = AddressFamily::Bridge;
        port.attributes.clear();
        let datagram = bytes(0, RouteNetlinkMessage::DelLink(port));
        assert_eq!(decode(&datagram), []);
        let mut device = veth_message();
        device.attributes.clear();
        let datagram = bytes(0, RouteNetlinkMessage::DelLink(device));
        assert_eq!(decode(&datagram), [Message::LinkGone { ifindex: 7 }]);
    }

    #[test]
    fn a_name_that_is_no_utf8_is_still_an_interface() {
        let mut datagram = bytes(0, RouteNetlinkMessage::NewLink(veth_message()));
        let at = datagram.windows(5).position(|w| w == b"veth7").unwrap();
        datagram[at] = 0xff;
        let expected = Link {
            name: "\u{fffd}eth7".to_owned(),
            ..veth()
        };
        assert_eq!(decode(&datagram), [Message::Link(expected)]);
    }

    #[test]
    fn an_interrupted_dump_says_so() {
        let datagram = bytes(
            NLM_F_DUMP_INTR,
            RouteNetlinkMessage::NewLink(veth_message()),
        );
        assert_eq!(
            decode(&datagram),
            [
                Message::DumpInterrupted { sequence: 5 },
                Message::Link(veth())
            ]
        );
    }

    #[test]
    fn ends_and_errors_are_told_apart() {
        // Length, type, flags, sequence, port, errno.
        let error = |kind: u8, errno: i32| {
            let head = [20, 0, 0, 0, kind, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
            [&head[..], &(-errno).to_ne_bytes()].concat()
        };
        let datagram = [error(3, 0), error(3, 105), error(2, 19)].concat();
        assert_eq!(
            decode(&datagram),
            [
                Message::DumpDone {
                    sequence: 9,
                    errno: 0
                },
                Message::DumpDone {
                    sequence: 9,
                    errno: 105
                },
                Message::Error {
                    sequence: 9,
                    errno: 19
                },
            ]
        );
    }

    proptest! {
        #[test]
        fn damage_never_upsets_it(at in 0usize..120, value in any::<u8>(), cut in 0usize..120) {
            let mut datagram = bytes(0, RouteNetlinkMessage::NewLink(veth_message()));
            let length = datagram.len();
            datagram[at % length] = value;
            datagram.truncate(length - cut % length);
            prop_assert!(decode(&datagram).len() <= datagram.len() / HEADER + 1);
        }

        #[test]
        fn no_input_upsets_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(decode(&bytes).len() <= bytes.len());
        }
    }
}
