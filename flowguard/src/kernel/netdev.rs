//! What the kernel tells of a device and XDP. Asked, never tried: to attach a program natively makes
//! many network cards stop for a moment.
//!
//! `rtnetlink(7)` and the generic netlink family `netdev` (include/uapi/linux/netdev.h, Linux 6.3).

use std::io;

use netlink_packet_generic::{
    GenlFamily, GenlHeader, GenlMessage,
    ctrl::{GenlCtrl, GenlCtrlCmd, nlas::GenlCtrlAttrs},
};
use nix::{errno::Errno, libc};
use rtnetlink::{
    packet_core::{
        DecodeError, DefaultNla, Emitable, NLM_F_REQUEST, NLMSG_ERROR, NetlinkBuffer,
        NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
        Nla as _, NlaBuffer, NlasIterator, Parseable as _, ParseableParametrized, parse_i32,
        parse_u64,
    },
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkMessage, LinkXdp, XdpAttached},
    },
    sys::{
        Socket, SocketAddr,
        protocols::{NETLINK_GENERIC, NETLINK_ROUTE},
    },
};

/// Bytes of `struct nlmsghdr` and of `struct ifinfomsg`, which come before a link's attributes.
const LINK_ATTRIBUTES: usize = 16 + 16;

/// More than one message about one device has.
const DATAGRAM: usize = 64 * 1024;

const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
/// The driver runs programs and does what they answer, redirections aside.
const NETDEV_XDP_ACT_BASIC: u64 = 1;

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the device's driver, before the kernel makes a packet of it.
    Native,
    /// In the kernel's network stack: with any driver, at a higher cost.
    Generic,
}

impl XdpMode {
    /// The word in `status` and `doctor`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// How an XDP program is attached to a device, whoever did it; none: there is none.
///
/// # Errors
///
/// There is no such device, or the kernel does not tell.
pub(super) fn attached(ifindex: u32) -> io::Result<Option<XdpMode>> {
    let mut link = LinkMessage::default();
    link.header.index = ifindex;
    let request = message(RouteNetlinkMessage::GetLink(link));
    let answer = ask(NETLINK_ROUTE, &request)?;
    // Not the whole message: one attribute that the library does not know would spoil it.
    let attributes = answer.get(LINK_ATTRIBUTES..).unwrap_or_default();
    let xdp = attributes_of(attributes).find(|attribute| attribute.kind() == libc::IFLA_XDP);
    Ok(xdp.as_ref().and_then(|xdp| mode(xdp.value())))
}

/// What the attributes within `IFLA_XDP` say.
fn mode(xdp: &[u8]) -> Option<XdpMode> {
    attributes_of(xdp)
        .filter_map(|attribute| LinkXdp::parse(&attribute).ok())
        .find_map(|attribute| match attribute {
            LinkXdp::Attached(XdpAttached::None) => None,
            LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpMode::Generic),
            LinkXdp::Attached(_) => Some(XdpMode::Native),
            _ => None,
        })
}

/// Whether a device's driver runs XDP programs; none: this kernel does not tell (before Linux 6.3).
///
/// # Errors
///
/// There is no such device, or the kernel does not tell.
pub(super) fn takes_native(ifindex: u32) -> io::Result<Option<bool>> {
    let Some(family) = netdev_family()? else {
        return Ok(None);
    };
    let device = Netdev {
        attributes: vec![DefaultNla::new(
            NETDEV_A_DEV_IFINDEX,
            ifindex.to_ne_bytes().to_vec(),
        )],
    };
    let mut request = GenlMessage::from_payload(device);
    request.set_resolved_family_id(family);
    request.finalize();
    let answer = ask(NETLINK_GENERIC, &message(request))?;
    let features = payload::<GenlMessage<Netdev>>(&answer)?
        .payload
        .attributes
        .iter()
        .find(|attribute| attribute.kind() == NETDEV_A_DEV_XDP_FEATURES)
        .and_then(|attribute| {
            let mut value = [0; size_of::<u64>()];
            (attribute.value_len() == value.len()).then(|| attribute.emit_value(&mut value))?;
            parse_u64(&value).ok()
        });
    Ok(features.map(|features| features & NETDEV_XDP_ACT_BASIC != 0))
}

/// The number of the family `netdev`; none: the kernel has none.
fn netdev_family() -> io::Result<Option<u16>> {
    let mut request = GenlMessage::from_payload(GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName(Netdev::family_name().to_owned())],
    });
    request.finalize();
    let answer = match ask(NETLINK_GENERIC, &message(request)) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => return Ok(None),
        answer => answer?,
    };
    let family = payload::<GenlMessage<GenlCtrl>>(&answer)?;
    Ok(family
        .payload
        .nlas
        .iter()
        .find_map(|attribute| match attribute {
            GenlCtrlAttrs::FamilyId(id) => Some(*id),
            _ => None,
        }))
}

/// The bytes of a request.
fn message<T: NetlinkSerializable>(payload: impl Into<NetlinkPayload<T>>) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, payload.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Sends a request of which the answer is one message; the kernel has it ready when this is sent.
fn ask(protocol: isize, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(request, 0)?;
    let mut answer = Vec::with_capacity(DATAGRAM);
    socket.recv(&mut answer, 0)?;
    let message = NetlinkBuffer::new_checked(&answer).map_err(io::Error::other)?;
    if message.message_type() == NLMSG_ERROR
        && let Some(errno) = message.payload().get(..size_of::<i32>())
        && let Ok(errno) = parse_i32(errno)
    {
        return Err(io::Error::from_raw_os_error(errno.wrapping_neg()));
    }
    Ok(answer)
}

/// What an answer holds.
fn payload<T: NetlinkDeserializable>(answer: &[u8]) -> io::Result<T> {
    let message = NetlinkMessage::<T>::deserialize(answer).map_err(io::Error::other)?;
    match message.payload {
        NetlinkPayload::InnerMessage(inner) => Ok(inner),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn attributes_of(bytes: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(bytes).map_while(Result::ok)
}

/// A message of the family `netdev`.
#[derive(Clone, Debug)]
struct Netdev {
    attributes: Vec<DefaultNla>,
}

impl GenlFamily for Netdev {
    fn family_name() -> &'static str {
        "netdev"
    }

    fn command(&self) -> u8 {
        NETDEV_CMD_DEV_GET
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for Netdev {
    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Netdev {
    fn parse_with_param(buffer: &[u8], _header: GenlHeader) -> Result<Self, DecodeError> {
        let attributes = NlasIterator::new(buffer)
            .map(|attribute| DefaultNla::parse(&attribute?))
            .collect::<Result<_, _>>()?;
        Ok(Self { attributes })
    }
}
