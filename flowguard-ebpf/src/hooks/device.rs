//! What the TC programs share: the frame, the device, the socket behind a packet.

use core::ptr::NonNull;

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_sock},
    helpers::{bpf_sk_fullsock, bpf_sk_storage_get},
    programs::TcContext,
};
use flowguard_common::{
    counters::Stat,
    packet::{self, Kind, Packet, Segment},
    source::Edge,
    stamp::Stamp,
};

use crate::{
    count,
    frame::Skb,
    maps::{EDGES, PARSED, STAMPS},
};

/// The packet goes on to whatever program comes next. Also the answer to everything we do not
/// understand.
pub(crate) const PASS: i32 = TC_ACT_UNSPEC;
/// The packet is dropped.
pub(crate) const DENY: i32 = TC_ACT_SHOT;

/// Ends a connection, in either direction: FIN or RST.
pub(crate) const TCP_ENDS: u8 = 0x01 | 0x04;

/// Interface of the packet: where it came in at ingress, where it goes out at egress.
#[inline(always)]
pub(crate) fn ifindex(ctx: &TcContext) -> u32 {
    // SAFETY: the kernel's context, a 4-byte read.
    unsafe { (*ctx.skb.skb).ifindex }
}

/// What is registered of a device.
#[inline(always)]
pub(crate) fn registered(ifindex: u32) -> Option<&'static Edge> {
    // SAFETY: the daemon replaces entries whole.
    unsafe { EDGES.get(ifindex) }
}

/// Parses the packet as the device's link layer has it. The segment lies in a map of this CPU, and
/// stays as it is until the program ends: TC programs are not interrupted by one another.
#[inline(always)]
pub(crate) fn parse(ctx: &TcContext, device: &Edge) -> (Kind, &'static Segment) {
    // SAFETY: the kernel's context.
    let kind = Kind::from_code(unsafe { parse_skb(ctx.skb.skb, device.link) });
    match PARSED.get(0) {
        Some(segment) => (kind, segment),
        None => (Kind::Other, &NOTHING),
    }
}

/// A global function (see [`crate::judge`]), so that a program pays for the parser once, and none of
/// its ways is a way through the rest of the program.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn parse_skb(skb: *mut __sk_buff, link: u32) -> u32 {
    let ctx = TcContext::new(skb);
    let Packet { kind, segment } = packet::parse(&Skb::of(&ctx), link);
    if let Some(parsed) = PARSED.get_ptr_mut(0) {
        // SAFETY: an element of a live map, this CPU's.
        unsafe { *parsed = segment };
    }
    kind as u32
}

/// Whether a packet that a tenant sent is looked at any further; counts those that cannot be.
#[inline(always)]
pub(crate) fn is_looked_at(kind: Kind) -> bool {
    match kind {
        Kind::Tcp => true,
        Kind::Other => false,
        Kind::HiddenFlags | Kind::HiddenPort => {
            count::stat(Stat::HiddenPort);
            true
        }
        Kind::Encapsulated => {
            count::stat(Stat::Encapsulated);
            false
        }
        Kind::Unparsed => {
            count::stat(Stat::Unparsed);
            false
        }
    }
}

/// For the verifier: the map has its one element.
static NOTHING: Segment = Packet::of(Kind::Other).segment;

/// The socket a packet comes from, if it has one.
#[inline(always)]
pub(crate) fn socket(ctx: &TcContext) -> Option<*mut bpf_sock> {
    // SAFETY: the kernel's context; the helper takes what the verifier knows to be a socket.
    unsafe {
        let sk = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return None;
        }
        let sk = bpf_sk_fullsock(sk);
        (!sk.is_null()).then_some(sk)
    }
}

/// The stamp on a socket, if it has one. In one word: of an option in two, verifiers before Linux 6.3
/// lose sight ("invalid read from stack").
#[inline(always)]
pub(crate) fn stamp(sk: *mut bpf_sock) -> Option<NonNull<Stamp>> {
    // aya-ebpf offers socket storage to sock_addr programs only.
    let map = (&raw const STAMPS).cast_mut().cast();
    // SAFETY: the callers pass sockets that the verifier knows.
    let stamp = unsafe { bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), 0) };
    NonNull::new(stamp.cast())
}
