//! TC ingress on the host side of a container's veth or a VM's tap: the count and the block for
//! whoever has a network namespace, and with it every way around the connect hooks, of their own.
//!
//! The packet's socket, where it has one, lives in the container, and its stamp survives the
//! crossing; raw, forwarded and duplicated packets have none and are told apart by the SYN itself.

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::{bpf_ktime_get_boot_ns, bpf_sk_fullsock, bpf_sk_storage_get},
    macros::classifier,
    programs::TcContext,
};
use aya_log_ebpf::debug;
use flowguard_common::{
    class::Class,
    counters::Stat,
    event::{Event, Hook},
    packet::{self, Kind, Packet, Segment},
    settings::{MODE_ENFORCE, Settings},
    source::Edge,
    stamp::{
        STAMP_DENIED, STAMP_MADE, STAMP_SENT, SYN_MEMORY_NS, SYN_WAYS, Stamp, Syn, SynEntry,
        syn_set, syn_tag,
    },
    verdict::Decision,
};

use super::connect;
use crate::{
    count, events,
    frame::Skb,
    judge,
    maps::{EDGES, STAMPS, SYNS},
};

/// The packet goes on to whatever program comes next. Also the answer to everything we do not
/// understand.
pub(crate) const PASS: i32 = TC_ACT_UNSPEC;
/// The packet is dropped.
const DENY: i32 = TC_ACT_SHOT;

/// Entry.
#[classifier]
fn edge(ctx: TcContext) -> i32 {
    // SAFETY: the kernel's context, a 4-byte read.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    // SAFETY: the daemon replaces entries whole.
    let Some(edge) = (unsafe { EDGES.get(ifindex) }) else {
        count::stat(Stat::UnknownEdge);
        return PASS;
    };
    let Packet { kind, segment } = packet::parse(&Skb::of(&ctx), edge.link);
    match kind {
        Kind::Tcp if segment.opens() => {}
        Kind::Tcp | Kind::Other => return PASS,
        Kind::HiddenFlags | Kind::HiddenPort => count::stat(Stat::HiddenPort),
        Kind::Encapsulated => {
            count::stat(Stat::Encapsulated);
            return PASS;
        }
        Kind::Unparsed => {
            count::stat(Stat::Unparsed);
            return PASS;
        }
    }
    let Some((bank, settings)) = super::settings() else {
        return PASS;
    };
    // The one thing that enforce mode drops without a verdict: what no honest stack sends.
    let drops = kind != Kind::Tcp && settings.mode == MODE_ENFORCE;
    if kind == Kind::HiddenPort || !settings.is_guarded(segment.dport) {
        return if drops { DENY } else { PASS };
    }
    let edge = Device { edge, ifindex };
    decide(&ctx, &edge, &segment, bank, settings, drops)
}

/// Where a packet came in.
struct Device<'a> {
    edge: &'a Edge,
    ifindex: u32,
}

/// Judges and counts one SYN to a guarded port; `drops` says that it is to be denied whatever the
/// verdict.
#[inline(always)]
fn decide(
    ctx: &TcContext,
    device: &Device<'_>,
    segment: &Segment,
    bank: u32,
    settings: &Settings,
    drops: bool,
) -> i32 {
    let Device { edge, ifindex } = *device;
    let trusted = connect::is_trusted(bank, &segment.dst);
    let class = settings.class(&segment.dst, segment.dport, trusted);
    // SAFETY: no arguments.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    let source = edge.source;

    let memory = Memory::of(ctx, edge, segment, now_ns);
    let (decision, counts) = match memory.syn(segment.seq, source, class) {
        Syn::Announced { count, would_deny } => {
            memory.remember(segment.seq, false, now_ns);
            let decision = if would_deny {
                Decision::WouldDeny
            } else {
                Decision::Pass
            };
            if count {
                count::attempt(
                    settings,
                    source,
                    class,
                    &segment.dst,
                    now_ns,
                    decision,
                    None,
                );
            }
            return PASS;
        }
        Syn::Again { denied } => {
            count::retransmit(source, class);
            let decision = judge::again(settings, source, class, now_ns, denied);
            return if drops { DENY } else { answer(decision) };
        }
        Syn::New { count } if drops => (Decision::Deny, count),
        Syn::New { count } => (judge::attempt(settings, source, class, now_ns, None), count),
    };
    debug!(
        ctx,
        "edge {}: source {} class {} port {} decision {}",
        ifindex,
        source,
        class as u8,
        segment.dport,
        decision as u8
    );
    memory.remember(segment.seq, decision == Decision::Deny, now_ns);
    if counts {
        count::attempt(
            settings,
            source,
            class,
            &segment.dst,
            now_ns,
            decision,
            None,
        );
    }
    if events::may_raise(settings, source, now_ns) {
        events::raise(Event {
            time_ns: now_ns,
            cgroup: 0,
            netns: 0,
            source,
            pid: 0,
            uid: 0,
            ifindex,
            dst: segment.dst,
            dport: segment.dport,
            class: class as u8,
            decision: decision as u8,
            hook: Hook::Edge as u8,
            pad: [0; 3],
            comm: [0; 16],
        });
    }
    answer(decision)
}

#[inline(always)]
fn answer(decision: Decision) -> i32 {
    match decision {
        Decision::Deny => DENY,
        Decision::Pass | Decision::WouldDeny => PASS,
    }
}

/// Where it is remembered which SYNs were seen.
enum Memory {
    /// On the socket.
    Socket(*mut Stamp),
    /// In the device's table: the place, the SYN's tag, and, if it is there already, whether it
    /// was denied.
    Table {
        place: *mut SynEntry,
        tag: u64,
        before: Option<bool>,
    },
    /// Nowhere: the table is smaller than the daemon believes. Every SYN counts.
    Nowhere,
}

impl Memory {
    #[inline(always)]
    fn of(ctx: &TcContext, edge: &Edge, segment: &Segment, now_ns: u64) -> Self {
        match stamp(ctx) {
            Some(stamp) => Self::Socket(stamp),
            None => Self::in_table(edge, segment, now_ns),
        }
    }

    /// The SYN's entry, or the place of its set that has been unused for longest.
    #[inline(always)]
    fn in_table(edge: &Edge, segment: &Segment, now_ns: u64) -> Self {
        let Segment {
            src,
            dst,
            sport,
            dport,
            seq,
            ..
        } = segment;
        let tag = syn_tag(src, *sport, dst, *dport, *seq);
        let set = syn_set(edge.slot, tag);
        let mut place = core::ptr::null_mut();
        let mut oldest = u64::MAX;
        for way in 0..SYN_WAYS {
            let Some(entry) = SYNS.get_ptr_mut(set.wrapping_add(way)) else {
                return Self::Nowhere;
            };
            // SAFETY: an element of a live map.
            let (found, time_ns) = unsafe { ((*entry).tag, (*entry).time_ns) };
            if found & !1 == tag && now_ns.wrapping_sub(time_ns) < SYN_MEMORY_NS {
                return Self::Table {
                    place: entry,
                    tag,
                    before: Some(found & 1 != 0),
                };
            }
            if time_ns < oldest {
                oldest = time_ns;
                place = entry;
            }
        }
        if place.is_null() {
            return Self::Nowhere;
        }
        Self::Table {
            place,
            tag,
            before: None,
        }
    }

    #[inline(always)]
    fn syn(&self, seq: u32, source: u32, class: Class) -> Syn {
        match self {
            // SAFETY: storage of the packet's socket, which the packet holds.
            Self::Socket(stamp) => unsafe { (**stamp).syn(seq, source, class as u32) },
            Self::Table {
                before: Some(denied),
                ..
            } => Syn::Again { denied: *denied },
            Self::Table { before: None, .. } | Self::Nowhere => Syn::New { count: true },
        }
    }

    #[inline(always)]
    fn remember(&self, seq: u32, denied: bool, now_ns: u64) {
        match self {
            // SAFETY: storage of the packet's socket, which the packet holds.
            Self::Socket(stamp) => unsafe {
                (**stamp).seq = seq;
                let made = (**stamp).flags & STAMP_MADE;
                (**stamp).flags = made | STAMP_SENT | if denied { STAMP_DENIED } else { 0 };
            },
            // SAFETY: an element of a live map.
            Self::Table { place, tag, .. } => unsafe {
                (**place).tag = *tag | u64::from(denied);
                (**place).time_ns = now_ns;
            },
            Self::Nowhere => {}
        }
    }
}

/// The stamp on the packet's socket, if it has both.
#[inline(always)]
fn stamp(ctx: &TcContext) -> Option<*mut Stamp> {
    // SAFETY: the kernel's context; both helpers take what the verifier knows to be a socket.
    let stamp = unsafe {
        let sk = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return None;
        }
        let sk = bpf_sk_fullsock(sk);
        if sk.is_null() {
            return None;
        }
        // aya-ebpf offers socket storage to sock_addr programs only.
        let map = (&raw const STAMPS).cast_mut().cast();
        bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), 0).cast::<Stamp>()
    };
    (!stamp.is_null()).then_some(stamp)
}
