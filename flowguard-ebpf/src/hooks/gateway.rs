//! XDP where tenants' traffic enters a router or a hypervisor: the count and the block for tenants
//! that are told by their addresses, packets to this host and through it alike.
//!
//! There is no socket here, and answers come another way: an attempt is its two ends and its SYN,
//! and what comes of it is not known. Minimum kernel: 5.10, for links of XDP programs 5.9.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::bpf_ktime_get_boot_ns,
    macros::xdp,
    programs::XdpContext,
};
use aya_log_ebpf::debug;
use flowguard_common::{
    addr,
    counters::{ClassCounters, Stat},
    event::{Event, Hook, NO_SOURCE},
    flow::{FLOW_DENIED, FLOW_SENT, FLOW_WAYS, Flow, TAG_TAKEN, flow_set, flow_tag},
    gateway::{self, Way},
    packet::{self, Kind, Packet, Segment},
    settings::{MODE_ENFORCE, Settings},
    source::{AddrKey, Edge, FallbackKey, prefix_key},
    verdict::Decision,
};

use super::{connect, device};
use crate::{
    atomic, count, events, flows,
    frame::Xdp,
    judge::{self, Attempt, Which},
    maps::{ADDRS, FALLBACK, FLOWS, PARSED},
};

/// The packet goes on. Also the answer to everything we do not understand.
const PASS: u32 = xdp_action::XDP_PASS;
/// The packet is dropped.
const DENY: u32 = xdp_action::XDP_DROP;

/// Entry.
#[xdp]
fn gateway(ctx: XdpContext) -> u32 {
    let ifindex = ctx.ingress_ifindex() as u32;
    let Some(device) = device::registered(ifindex) else {
        count::stat(Stat::UnknownEdge);
        return PASS;
    };
    // SAFETY: the kernel's context.
    let kind = Kind::from_code(unsafe { parse_xdp(ctx.ctx, device.link) });
    if !device::is_looked_at(kind) {
        return PASS;
    }
    let (Some((bank, settings)), Some(segment)) = (super::settings(), PARSED.get(0)) else {
        return PASS;
    };
    // The one thing that enforce mode drops without a verdict: what no honest stack sends.
    let drops = kind != Kind::Tcp && settings.mode == MODE_ENFORCE;
    if kind == Kind::HiddenPort || !settings.is_guarded(segment.dport) {
        return if drops { DENY } else { PASS };
    }
    let trusted = connect::is_trusted(bank, &segment.dst);
    let (kind, id) = prefix_key(&segment.src, settings.gateway_bits4, settings.gateway_bits6);
    let seen = Seen {
        device,
        ifindex,
        segment,
        bank,
        settings,
        // SAFETY: no arguments.
        now_ns: unsafe { bpf_ktime_get_boot_ns() },
        from: FallbackKey {
            id,
            kind,
            class: settings.class(&segment.dst, segment.dport, trusted) as u32,
        },
    };
    let registered = AddrKey { id, kind, pad: 0 };
    // SAFETY: values are words that the daemon replaces whole.
    let source = unsafe { ADDRS.get(registered) };
    if !segment.opens() {
        return match source {
            Some(source) => seen.went_on(*source),
            None => seen.went_on_by_stranger(),
        };
    }
    let answer = match source {
        Some(source) => seen.opened(&ctx, *source, drops),
        None => seen.opened_by_stranger(drops),
    };
    if answer == PASS {
        flows::let_go(segment);
    }
    answer
}

/// A global function (see [`crate::judge`]), as that of the TC programs.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn parse_xdp(ctx: *mut xdp_md, link: u32) -> u32 {
    let Packet { kind, segment } = packet::parse(&Xdp::of(&XdpContext::new(ctx)), link);
    if let Some(parsed) = PARSED.get_ptr_mut(0) {
        // SAFETY: an element of a live map, this CPU's, which softirqs do not share while one runs.
        unsafe { *parsed = segment };
    }
    kind as u32
}

/// A packet to a guarded port.
struct Seen<'a> {
    device: &'a Edge,
    ifindex: u32,
    segment: &'a Segment,
    bank: u32,
    settings: &'a Settings,
    now_ns: u64,
    /// The prefix it comes from, and the class it is of.
    from: FallbackKey,
}

/// What is remembered of a SYN.
enum Syn {
    /// Nothing.
    New,
    /// It came before.
    Again {
        /// And was denied.
        denied: bool,
    },
}

impl Seen<'_> {
    /// Judges and counts one SYN; `drops` says that it is to be denied whatever the verdict.
    #[inline(always)]
    fn opened(&self, ctx: &XdpContext, source: u32, drops: bool) -> u32 {
        let index = flows::index_of(source, self.from.class);
        if let Syn::Again { denied } = self.syn() {
            count::retransmit(index);
            let decision = judge::again(index, self.bank, self.now_ns, denied);
            return if drops { DENY } else { answer(decision) };
        }
        let attempt = Attempt {
            index,
            hash: self.hash(),
            now_ns: self.now_ns,
            bank: self.bank,
            before: Some(self.from),
        };
        let decision = if drops {
            Decision::Deny
        } else {
            // There is no sending a packet elsewhere.
            match judge::attempt(&attempt) {
                Decision::Redirect => Decision::Deny,
                decision => decision,
            }
        };
        debug!(
            ctx,
            "gateway {}: source {} class {} port {} decision {}",
            self.ifindex,
            source,
            self.from.class,
            self.segment.dport,
            decision as u8
        );
        self.remember(decision);
        count::attempt(&attempt, decision);
        if events::may_raise(self.settings, Which::Attempts, source, self.now_ns) {
            self.raise(source, decision);
        }
        answer(decision)
    }

    /// The same for a prefix that nobody registered yet: only the ceiling holds.
    #[inline(always)]
    fn opened_by_stranger(&self, drops: bool) -> u32 {
        if let Syn::Again { denied } = self.syn() {
            // SAFETY: an element of a live map.
            self.with(|counters| unsafe { atomic::add(&raw mut (*counters).retransmits, 1) });
            let denied = denied && self.settings.mode == MODE_ENFORCE;
            return if drops || denied { DENY } else { PASS };
        }
        let (first, decision) =
            count::unregistered(&self.from, self.hash(), self.now_ns, self.bank);
        let decision = if drops && decision != Decision::Deny {
            // SAFETY: an element of a live map.
            self.with(|counters| unsafe { atomic::add(&raw mut (*counters).denied, 1) });
            Decision::Deny
        } else {
            decision
        };
        self.remember(decision);
        // Whoever makes up addresses is not to fill the ring: the daemon finds the others at its
        // next tick.
        if first && events::may_raise(self.settings, Which::Newcomers, NO_SOURCE, self.now_ns) {
            self.raise(NO_SOURCE, decision);
        }
        answer(decision)
    }

    /// A packet of an open connection: its bytes count, and a verdict that severs stops it.
    #[inline(always)]
    fn went_on(&self, source: u32) -> u32 {
        let index = flows::index_of(source, self.from.class);
        if judge::is_severed(self.settings, index, self.now_ns) {
            return DENY;
        }
        count::bytes(index, self.segment.bytes);
        PASS
    }

    #[inline(always)]
    fn went_on_by_stranger(&self) -> u32 {
        let bytes = self.segment.bytes.into();
        // SAFETY: an element of a live map.
        self.with(|counters| unsafe { atomic::add(&raw mut (*counters).bytes, bytes) });
        PASS
    }

    /// Adds to the counters of a prefix that nobody registered yet, if it has any.
    #[inline(always)]
    fn with(&self, add: impl FnOnce(*mut ClassCounters)) {
        if let Some(entry) = FALLBACK.get_ptr_mut(self.from) {
            // SAFETY: an element of a live map.
            add(unsafe { &raw mut (*entry).counters });
        }
    }

    #[inline(always)]
    fn hash(&self) -> u64 {
        addr::hash(&self.segment.dst, self.settings.hash_seed)
    }

    #[inline(always)]
    fn tag(&self) -> u64 {
        let Segment {
            src,
            dst,
            sport,
            dport,
            ..
        } = self.segment;
        flow_tag(src, *sport, dst, *dport)
    }

    #[inline(always)]
    fn owner(&self) -> u32 {
        gateway::owner(self.from.kind, self.from.id)
    }

    #[inline(always)]
    fn syn(&self) -> Syn {
        let slot = gateway::gateway_slot(self.device.slot, self.owner());
        let Some(flow) = flows::find(slot, self.tag()) else {
            return Syn::New;
        };
        // SAFETY: an element of a live map.
        let flow = unsafe { *flow.as_ptr() };
        if flow.is_again(self.segment.seq, self.now_ns) {
            Syn::Again {
                denied: flow.flags & FLOW_DENIED != 0,
            }
        } else {
            Syn::New
        }
    }

    #[inline(always)]
    fn remember(&self, decision: Decision) {
        let denied = if decision == Decision::Deny {
            FLOW_DENIED
        } else {
            0
        };
        let flow = Flow {
            tag: self.tag(),
            time_ns: self.now_ns,
            seq: self.segment.seq,
            flags: FLOW_SENT | self.from.class | denied,
            next: self.owner(),
            line: 0,
        };
        let slot = gateway::gateway_slot(self.device.slot, flow.next);
        for _ in 0..flows::TRIES {
            // SAFETY: plain numbers.
            let place = unsafe { take_prefix_flow(slot, flow.next, flow.tag, flow.time_ns) };
            if let Some(place) = FLOWS.get_ptr_mut(place) {
                // SAFETY: an element of a live map. Nothing is lost with what was there: nobody
                // counts outcomes here.
                unsafe { flows::fill(place, &flow) };
                break;
            }
        }
    }

    #[inline(always)]
    fn raise(&self, source: u32, decision: Decision) {
        events::raise(Event {
            time_ns: self.now_ns,
            cgroup: 0,
            id: self.from.id,
            source,
            pid: 0,
            uid: 0,
            ifindex: self.ifindex,
            dst: self.segment.dst,
            dport: self.segment.dport,
            class: self.from.class as u8,
            decision: decision as u8,
            hook: Hook::Gateway as u8,
            pad: [0; 3],
            key: self.from.kind,
            pad2: 0,
            comm: [0; 16],
        });
    }
}

#[inline(always)]
fn answer(decision: Decision) -> u32 {
    match decision {
        Decision::Deny => DENY,
        Decision::Pass | Decision::WouldDeny | Decision::Redirect => PASS,
    }
}

/// Takes an attempt's place in its owner's part, or else the one that it can have;
/// [`flows::NOWHERE`], if another CPU is faster.
///
/// A global function (see [`crate::judge`]).
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn take_prefix_flow(slot: u32, owner: u32, tag: u64, now_ns: u64) -> u32 {
    let set = flow_set(slot, tag);
    let mut holders = [0; FLOW_WAYS as usize];
    let mut ways = [Way {
        owner: 0,
        time_ns: 0,
    }; FLOW_WAYS as usize];
    let mut index = set;
    for (holder, way) in holders.iter_mut().zip(&mut ways) {
        let Some(flow) = FLOWS.get_ptr(index) else {
            return flows::NOWHERE;
        };
        // SAFETY: an element of a live map.
        let held = unsafe { flows::held(flow) };
        if held.tag == tag {
            return if flows::take(index, tag) {
                index
            } else {
                flows::NOWHERE
            };
        }
        *holder = held.tag;
        // What is being taken is somebody's newest. Without a branch: each doubles the ways that the
        // verifier walks.
        let other = held.tag ^ TAG_TAKEN;
        let taken = ((other | other.wrapping_neg()) >> 63).wrapping_sub(1);
        *way = Way {
            owner: held.next | taken as u32,
            time_ns: held.time_ns | taken,
        };
        index = index.wrapping_add(1);
    }
    let chosen = gateway::choose(&ways, owner, now_ns) as u32 % FLOW_WAYS;
    let place = set.wrapping_add(chosen);
    let holder = holders[chosen as usize];
    if holder != TAG_TAKEN && flows::take(place, holder) {
        place
    } else {
        flows::NOWHERE
    }
}
