//! TC ingress on the host side of a container's veth or a VM's tap: the count and the block for
//! whoever has a network namespace, and with it every way around the connect hooks, of their own.
//!
//! The packet's socket, where it has one, lives in the container, and its stamp survives the
//! crossing; raw, forwarded and duplicated packets have none and are told apart by their ends and
//! the SYN itself.

use core::ptr::NonNull;

use aya_ebpf::{helpers::bpf_ktime_get_boot_ns, macros::classifier, programs::TcContext};
use aya_log_ebpf::debug;
use flowguard_common::{
    addr,
    counters::Stat,
    event::{Event, Hook},
    flow::{FLOW_CLASS, FLOW_DENIED, FLOW_SENT, Flow, flow_tag},
    packet::{Kind, Segment},
    settings::{MODE_ENFORCE, Settings},
    source::Edge,
    stamp::{STAMP_DENIED, STAMP_MADE, STAMP_REDIRECTED, STAMP_SENT, Stamp, Syn},
    verdict::Decision,
};

use super::{
    connect,
    device::{self, DENY, PASS, TCP_ENDS},
};
use crate::{
    count, events, flows,
    judge::{self, Attempt, Which},
    maps::PARSED,
};

/// Entry.
#[classifier]
fn edge(ctx: TcContext) -> i32 {
    let ifindex = device::ifindex(&ctx);
    let Some(edge) = device::registered(ifindex) else {
        count::stat(Stat::UnknownEdge);
        return PASS;
    };
    let (kind, segment) = device::parse(&ctx, edge);
    if !device::is_looked_at(kind) {
        return PASS;
    }
    let Some((bank, settings)) = super::settings() else {
        return PASS;
    };
    // The one thing that enforce mode drops without a verdict: what no honest stack sends.
    let drops = kind != Kind::Tcp && settings.mode == MODE_ENFORCE;
    if kind == Kind::HiddenPort || !settings.is_guarded(segment.dport) {
        return if drops { DENY } else { PASS };
    }
    // SAFETY: no arguments.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    let seen = Seen {
        edge,
        ifindex,
        segment,
        bank,
        settings,
        now_ns,
        tag: flow_tag(&segment.src, segment.sport, &segment.dst, segment.dport),
    };
    if segment.opens() {
        let answer = opened(&ctx, &seen, drops);
        if answer == PASS {
            flows::let_go(segment);
        }
        answer
    } else {
        went_on(&seen)
    }
}

/// A packet to a guarded port.
struct Seen<'a> {
    edge: &'a Edge,
    ifindex: u32,
    segment: &'a Segment,
    bank: u32,
    settings: &'a Settings,
    now_ns: u64,
    tag: u64,
}

impl Seen<'_> {
    /// [`flowguard_common::class::Class`] by destination and port.
    #[inline(always)]
    fn class(&self) -> u32 {
        // SAFETY: a plain number.
        unsafe { class_of_parsed(self.bank) & FLOW_CLASS }
    }
}

/// A packet of an open connection: its bytes count, and a verdict that severs stops it.
#[inline(always)]
fn went_on(seen: &Seen<'_>) -> i32 {
    let source = seen.edge.source;
    let flow = flows::find(seen.edge.slot, seen.tag);
    let class = match flow {
        // SAFETY: an element of a live map.
        Some(flow) => unsafe { (*flow.as_ptr()).flags & FLOW_CLASS },
        None => seen.class(),
    };
    let index = flows::index_of(source, class);
    if judge::is_severed(seen.settings, index, seen.now_ns) {
        return DENY;
    }
    count::bytes(index, seen.segment.bytes);
    if let Some(flow) = flow
        && seen.segment.flags & TCP_ENDS != 0
    {
        // SAFETY: an element of a live map.
        unsafe { flows::close(flow.as_ptr(), index, seen.now_ns) };
    }
    PASS
}

/// Judges and counts one SYN; `drops` says that it is to be denied whatever the verdict.
#[inline(always)]
fn opened(ctx: &TcContext, seen: &Seen<'_>, drops: bool) -> i32 {
    let Seen {
        edge,
        segment,
        settings,
        now_ns,
        ..
    } = *seen;
    let class = seen.class();
    let source = edge.source;
    let index = flows::index_of(source, class);
    let memory = Memory::of(ctx, seen);
    let attempt = Attempt {
        index,
        hash: addr::hash(&segment.dst, settings.hash_seed),
        now_ns,
        bank: seen.bank,
        before: None,
    };
    let (decision, counts, told) = match memory.syn(seen, class) {
        Syn::Announced { count, would_deny } if would_deny => (Decision::WouldDeny, count, false),
        Syn::Announced { count, .. } => (Decision::Pass, count, false),
        Syn::Again { denied } => {
            count::retransmit(flows::index_of(source, memory.counted(class)));
            let decision = judge::again(index, seen.bank, now_ns, denied);
            return if drops { DENY } else { answer(decision) };
        }
        Syn::New { count } if drops => (Decision::Deny, count, true),
        Syn::New { count } => {
            // There is no sending a packet elsewhere.
            let decision = match judge::attempt(&attempt) {
                Decision::Redirect => Decision::Deny,
                decision => decision,
            };
            (decision, count, true)
        }
    };
    debug!(
        ctx,
        "edge {}: source {} class {} port {} decision {}",
        seen.ifindex,
        source,
        class,
        segment.dport,
        decision as u8
    );
    memory.remember(seen, class, decision == Decision::Deny);
    if counts {
        count::attempt(&attempt, decision);
    }
    if told && events::may_raise(settings, Which::Attempts, source, now_ns) {
        events::raise(Event {
            time_ns: now_ns,
            cgroup: 0,
            id: 0,
            source,
            pid: 0,
            uid: 0,
            ifindex: seen.ifindex,
            dst: segment.dst,
            dport: segment.dport,
            class: class as u8,
            decision: decision as u8,
            hook: Hook::Edge as u8,
            pad: [0; 3],
            key: 0,
            pad2: 0,
            comm: [0; 16],
        });
    }
    answer(decision)
}

#[inline(always)]
fn answer(decision: Decision) -> i32 {
    match decision {
        Decision::Deny => DENY,
        Decision::Pass | Decision::WouldDeny | Decision::Redirect => PASS,
    }
}

/// Where it is remembered which SYNs were seen: on the socket, if there is one, and in the device's
/// table.
struct Memory {
    stamp: Option<NonNull<Stamp>>,
    flow: Option<NonNull<Flow>>,
}

impl Memory {
    #[inline(always)]
    fn of(ctx: &TcContext, seen: &Seen<'_>) -> Self {
        Self {
            stamp: device::socket(ctx).and_then(device::stamp),
            flow: flows::find(seen.edge.slot, seen.tag),
        }
    }

    #[inline(always)]
    fn syn(&self, seen: &Seen<'_>, class: u32) -> Syn {
        let seq = seen.segment.seq;
        if let Some(stamp) = self.stamp {
            // SAFETY: storage of the packet's socket, which the packet holds.
            return unsafe { (*stamp.as_ptr()).syn(seq, seen.edge.source, class) };
        }
        if let Some(flow) = self.flow {
            // SAFETY: an element of a live map.
            let flow = unsafe { *flow.as_ptr() };
            if flow.is_again(seq, seen.now_ns) {
                return Syn::Again {
                    denied: flow.flags & FLOW_DENIED != 0,
                };
            }
        }
        Syn::New { count: true }
    }

    /// The class that the outcome of an attempt whose packets are of `class` counts in.
    #[inline(always)]
    fn counted(&self, class: u32) -> u32 {
        let Some(stamp) = self.stamp else {
            return class;
        };
        let stamp = stamp.as_ptr();
        // SAFETY: storage of the packet's socket, which the packet holds; then plain numbers.
        unsafe { counted_class((*stamp).flags, (*stamp).counted, class) }
    }

    #[inline(always)]
    fn remember(&self, seen: &Seen<'_>, class: u32, denied: bool) {
        let seq = seen.segment.seq;
        if let Some(stamp) = self.stamp {
            let stamp = stamp.as_ptr();
            // SAFETY: storage of the packet's socket, which the packet holds.
            unsafe {
                (*stamp).seq = seq;
                let kept = (*stamp).flags & (STAMP_MADE | STAMP_REDIRECTED);
                (*stamp).flags = kept | STAMP_SENT | if denied { STAMP_DENIED } else { 0 };
            }
        }
        let flow = Flow {
            tag: seen.tag,
            time_ns: seen.now_ns,
            seq,
            flags: FLOW_SENT | self.counted(class) | if denied { FLOW_DENIED } else { 0 },
            next: 0,
            line: 0,
        };
        let Edge { slot, source, .. } = *seen.edge;
        flows::begin(slot, source, seen.settings.answer_ns, &flow);
    }
}

/// The class that an attempt counts in, whose packets are of `class`, by the stamp on its socket.
///
/// A global function (see [`crate::judge`]): the verifier would walk the rest of the program once for
/// each of the two.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn counted_class(flags: u32, counted: u32, class: u32) -> u32 {
    let class = if flags & STAMP_REDIRECTED != 0 {
        counted
    } else {
        class
    };
    class & FLOW_CLASS
}

/// The class of the packet in hand.
///
/// A global function (see [`crate::judge`]), for the same reason: there are many ways to each class.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn class_of_parsed(bank: u32) -> u32 {
    let (Some(segment), Some(settings)) = (PARSED.get(0), super::settings_of(bank)) else {
        return 0;
    };
    let Segment { dst, dport, .. } = segment;
    settings.class(dst, *dport, connect::is_trusted(bank & 1, dst)) as u32
}
