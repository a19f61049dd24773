//! TC egress on the host's own way to the world, the last place a packet passes: what host users
//! send, `sever` for them, and the leak detector. A SYN to a guarded port that no hook accounted for
//! is a *stray*: made by hand by root of the host, or come from a device that is no edge.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::{bpf_get_socket_uid, bpf_ktime_get_boot_ns},
    macros::classifier,
    programs::TcContext,
};
use flowguard_common::{
    counters::Stat,
    event::{Event, Hook, NO_SOURCE},
    flow::{FLOW_CLASS, FLOW_SENT, Flow, flow_tag},
    packet::{Kind, Segment},
    settings::Settings,
    source::Edge,
    stamp::{STAMP_JUDGED, Stamp},
    verdict::Decision,
};

use super::{
    connect,
    device::{self, DENY, PASS, TCP_ENDS},
};
use crate::{
    count, events, flows, identity,
    judge::{self, Which},
};

const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;

/// Entry.
#[classifier]
fn uplink(ctx: TcContext) -> i32 {
    let ifindex = device::ifindex(&ctx);
    let Some(device) = device::registered(ifindex) else {
        count::stat(Stat::UnknownEdge);
        return PASS;
    };
    let (kind, segment) = device::parse(&ctx, device);
    if kind != Kind::Tcp {
        return PASS;
    }
    let Some((bank, settings)) = super::settings() else {
        return PASS;
    };
    if !settings.is_guarded(segment.dport) {
        return PASS;
    }
    // SAFETY: no arguments; then the kernel's context, a 4-byte read.
    let (now_ns, came_in) = unsafe { (bpf_ktime_get_boot_ns(), (*ctx.skb.skb).ingress_ifindex) };
    let sent = Sent {
        device,
        ifindex,
        segment,
        bank,
        settings,
        now_ns,
    };
    if came_in != 0 {
        // Forwarded for a tenant. Where it came in it was judged and counted, if anybody looked.
        if segment.opens() && !flows::is_on_its_way(segment) {
            sent.stray(&ctx);
        }
        return PASS;
    }
    let Some(sk) = device::socket(&ctx) else {
        if segment.opens() {
            sent.stray(&ctx);
        }
        return PASS;
    };
    if let Some(stamp) = device::stamp(sk) {
        let stamp = stamp.as_ptr();
        // SAFETY: storage of the packet's socket, which the packet holds.
        unsafe {
            if (*stamp).flags & STAMP_JUDGED != 0 {
                return sent.announced(stamp);
            }
        }
    }
    sent.unannounced(&ctx, sk)
}

/// A packet to a guarded port that leaves the host.
struct Sent<'a> {
    device: &'a Edge,
    ifindex: u32,
    segment: &'a Segment,
    bank: u32,
    settings: &'a Settings,
    now_ns: u64,
}

impl Sent<'_> {
    /// A packet of a socket whose attempt the connect hook judged and counted.
    ///
    /// # Safety
    ///
    /// `stamp` is storage of the packet's socket.
    #[inline(always)]
    unsafe fn announced(&self, stamp: *mut Stamp) -> i32 {
        let segment = self.segment;
        // SAFETY: the caller's promise.
        unsafe {
            let source = (*stamp).source;
            if source == NO_SOURCE {
                return PASS;
            }
            let class = (*stamp).counted & FLOW_CLASS;
            let index = flows::index_of(source, class);
            let flow = &raw mut (*stamp).flow;
            if !segment.opens() {
                if judge::is_severed(self.settings, index, self.now_ns) {
                    return DENY;
                }
                count::bytes(index, segment.bytes);
                if segment.flags & TCP_ENDS != 0 {
                    flows::close(flow, index, self.now_ns);
                }
                return PASS;
            }
            if (*flow).is_again(segment.seq, self.now_ns) {
                count::retransmit(index);
                let index = flows::index_of(source, (*stamp).class);
                return match judge::verdict(index, self.bank, self.now_ns) {
                    Decision::Deny => DENY,
                    _ => PASS,
                };
            }
            flows::settle(stamp);
            *flow = Flow {
                tag: 0,
                time_ns: self.now_ns,
                seq: segment.seq,
                flags: FLOW_SENT | class,
                next: 0,
                line: 0,
            };
        }
        PASS
    }

    /// A packet of a socket that no connect hook announced: MPTCP's subflows, and connections that
    /// are older than the guard. They are whose socket they come from, and were counted or never
    /// will be. Other sockets send what they like.
    #[inline(always)]
    fn unannounced(&self, ctx: &TcContext, sk: *mut bpf_sock) -> i32 {
        // SAFETY: a socket that the verifier knows, 4-byte reads.
        let (kind, protocol) = unsafe { ((*sk).type_, (*sk).protocol) };
        if kind != SOCK_STREAM || protocol != IPPROTO_TCP {
            if self.segment.opens() {
                self.stray(ctx);
            }
            return PASS;
        }
        let Some(source) = identity::source_of_socket(ctx.skb.skb) else {
            return PASS;
        };
        let Segment { dst, dport, .. } = self.segment;
        let trusted = connect::is_trusted(self.bank, dst);
        let index = self.settings.class(dst, *dport, trusted).index(source);
        let drops = if self.segment.opens() {
            judge::verdict(index, self.bank, self.now_ns) == Decision::Deny
        } else {
            judge::is_severed(self.settings, index, self.now_ns)
        };
        if drops { DENY } else { PASS }
    }

    /// Counts a stray, once however often it is sent, and tells of it.
    #[inline(always)]
    fn stray(&self, ctx: &TcContext) {
        let segment = self.segment;
        let tag = flow_tag(&segment.src, segment.sport, &segment.dst, segment.dport);
        if let Some(flow) = flows::find(self.device.slot, tag)
            // SAFETY: an element of a live map.
            && unsafe { (*flow.as_ptr()).is_again(segment.seq, self.now_ns) }
        {
            return;
        }
        let flow = Flow {
            tag,
            time_ns: self.now_ns,
            seq: segment.seq,
            flags: FLOW_SENT,
            next: 0,
            line: 0,
        };
        flows::begin(self.device.slot, NO_SOURCE, self.settings.answer_ns, &flow);
        count::stat(Stat::Stray);
        if !events::may_raise(self.settings, Which::Strays, NO_SOURCE, self.now_ns) {
            return;
        }
        let trusted = connect::is_trusted(self.bank, &segment.dst);
        let class = self.settings.class(&segment.dst, segment.dport, trusted);
        events::raise(Event {
            time_ns: self.now_ns,
            cgroup: 0,
            id: 0,
            source: NO_SOURCE,
            pid: 0,
            // SAFETY: the kernel's context.
            uid: unsafe { bpf_get_socket_uid(ctx.skb.skb) },
            ifindex: self.ifindex,
            dst: segment.dst,
            dport: segment.dport,
            class: class as u8,
            decision: Decision::Pass as u8,
            hook: Hook::Uplink as u8,
            pad: [0; 3],
            key: 0,
            pad2: 0,
            comm: [0; 16],
        });
    }
}
