//! Remembering attempts: on sockets, and per device for packets without one.

use core::ptr::NonNull;

use flowguard_common::{
    class::CLASSES,
    counters::Stat,
    event::NO_SOURCE,
    flow::{
        FLOW_CLASS, FLOW_CLOSED, FLOW_ESTABLISHED, FLOW_TIMED_OUT, FLOW_WAYS, Flow,
        SYNS_ON_THEIR_WAY, TAG_TAKEN, flow_set, syn_tag,
    },
    packet::Segment,
    stamp::Stamp,
};

use crate::{
    atomic, count,
    maps::{FLOWS, ON_THE_WAY},
};

/// Counts what a socket's attempt came to if it ends unanswered.
///
/// # Safety
///
/// `stamp` is storage of a socket that the caller holds.
#[inline(always)]
pub(crate) unsafe fn settle(stamp: *mut Stamp) {
    // SAFETY: the caller's promise.
    unsafe {
        let flow = &raw mut (*stamp).flow;
        if (*flow).is_open() && (*stamp).source != NO_SOURCE {
            let index = index_of((*stamp).source, (*flow).flags);
            count::outcome(&raw mut (*flow).flags, FLOW_TIMED_OUT, index);
        }
    }
}

/// Where the counters are of a source in the class that a flow's flags tell.
#[inline(always)]
pub(crate) fn index_of(source: u32, flags: u32) -> u32 {
    let class = flags & FLOW_CLASS;
    source
        .wrapping_mul(CLASSES)
        .wrapping_add(if class < CLASSES { class } else { 0 })
}

/// Finds an attempt that is remembered in a device's table. In one word, as
/// [`crate::hooks::device::stamp`].
#[inline(always)]
pub(crate) fn find(slot: u32, tag: u64) -> Option<NonNull<Flow>> {
    // SAFETY: plain numbers.
    let place = unsafe { find_flow(slot, tag) };
    FLOWS.get_ptr_mut(place).and_then(NonNull::new)
}

/// Where no table has a place.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// A global function (see [`crate::judge`]).
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn find_flow(slot: u32, tag: u64) -> u32 {
    let set = flow_set(slot, tag);
    for way in 0..FLOW_WAYS {
        let index = set.wrapping_add(way);
        let Some(flow) = FLOWS.get_ptr(index) else {
            break;
        };
        // SAFETY: an element of a live map.
        if unsafe { core::ptr::read_volatile(&raw const (*flow).tag) } == tag {
            return index;
        }
    }
    NOWHERE
}

/// How often a place is looked for. One more is needed only when another CPU takes the very place that
/// was found.
pub(crate) const TRIES: u32 = 4;

/// Takes an attempt's place, or else one of its set that is free or closed, or that of the oldest
/// attempt; [`NOWHERE`], if another CPU is faster.
///
/// A global function (see [`crate::judge`]).
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn take_flow(slot: u32, tag: u64) -> u64 {
    let set = flow_set(slot, tag);
    let mut place = NOWHERE;
    let mut holder = TAG_TAKEN;
    let mut oldest = u64::MAX;
    for way in 0..FLOW_WAYS {
        let index = set.wrapping_add(way);
        let Some(flow) = FLOWS.get_ptr(index) else {
            break;
        };
        // SAFETY: an element of a live map.
        let held = unsafe { held(flow) };
        if held.tag == tag {
            (place, holder) = (index, tag);
            break;
        }
        let age = if held.flags & FLOW_CLOSED != 0 {
            0
        } else {
            held.time_ns
        };
        if held.tag != TAG_TAKEN && age < oldest {
            (place, holder, oldest) = (index, held.tag, age);
        }
    }
    if !take(place, holder) {
        return NOWHERE.into();
    }
    let found = if holder == tag { FOUND } else { 0 };
    found | u64::from(place)
}

/// With the index that [`take_flow`] returns: the attempt was there.
const FOUND: u64 = 1 << 32;

/// What a place holds, as far as it matters to who looks for one.
pub(crate) struct Held {
    pub(crate) tag: u64,
    pub(crate) time_ns: u64,
    pub(crate) flags: u32,
    pub(crate) next: u32,
}

/// Looks at a place. The tag is read first: if it is still there when the place is taken, the rest was
/// its.
///
/// # Safety
///
/// `flow` is in a live map.
#[inline(always)]
pub(crate) unsafe fn held(flow: *const Flow) -> Held {
    // SAFETY: the caller's promise. Volatile reads keep their order.
    unsafe {
        Held {
            tag: core::ptr::read_volatile(&raw const (*flow).tag),
            time_ns: core::ptr::read_volatile(&raw const (*flow).time_ns),
            flags: core::ptr::read_volatile(&raw const (*flow).flags),
            next: core::ptr::read_volatile(&raw const (*flow).next),
        }
    }
}

/// Takes a place, if it is still that of the attempt with the tag `holder`. Whoever has taken it fills
/// it.
#[inline(always)]
pub(crate) fn take(place: u32, holder: u64) -> bool {
    FLOWS.get_ptr_mut(place).is_some_and(|flow| {
        // SAFETY: an element of a live map.
        unsafe { atomic::replace(&raw mut (*flow).tag, holder, TAG_TAKEN) }
    })
}

/// Fills a place that was taken. The tag is last: by it the attempt is found.
///
/// # Safety
///
/// `flow` is in a live map.
#[inline(always)]
pub(crate) unsafe fn fill(flow: *mut Flow, new: &Flow) {
    // SAFETY: the caller's promise.
    unsafe {
        *flow = Flow {
            tag: TAG_TAKEN,
            ..*new
        };
        atomic::publish(&raw mut (*flow).tag, new.tag);
    }
}

/// Remembers an attempt in a device's table. What its place held before is settled: it has timed out
/// if it was the same two ends' or old enough, else its outcome is lost.
#[inline(always)]
pub(crate) fn begin(slot: u32, source: u32, answer_ns: u64, new: &Flow) {
    let mut place = NOWHERE.into();
    for _ in 0..TRIES {
        // SAFETY: plain numbers.
        place = unsafe { take_flow(slot, new.tag) };
        if place != NOWHERE.into() {
            break;
        }
    }
    let Some(flow) = FLOWS.get_ptr_mut(place as u32) else {
        count::stat(Stat::FlowForgotten);
        return;
    };
    // SAFETY: an element of a live map.
    unsafe {
        if (*flow).is_open() && source != NO_SOURCE {
            if place & FOUND != 0 || (*flow).is_overdue(new.time_ns, answer_ns) {
                let index = index_of(source, (*flow).flags);
                count::outcome(&raw mut (*flow).flags, FLOW_TIMED_OUT, index);
            } else {
                count::stat(Stat::FlowForgotten);
            }
        }
        fill(flow, new);
    }
}

/// Notes that a connection ended, and for how long it was open.
///
/// # Safety
///
/// `flow` is in a live map.
#[inline(always)]
pub(crate) unsafe fn close(flow: *mut Flow, index: u32, now_ns: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        let flags = (*flow).flags;
        if flags & (FLOW_ESTABLISHED | FLOW_CLOSED) != FLOW_ESTABLISHED {
            return;
        }
        if atomic::or32(&raw mut (*flow).flags, FLOW_CLOSED) & FLOW_CLOSED == 0 {
            let open_ms = now_ns.saturating_sub((*flow).time_ns) / 1_000_000;
            count::with(index, |counters| {
                atomic::add(&raw mut (*counters).open_ms, open_ms);
            });
        }
    }
}

/// Notes that a SYN was accounted for where it came in. Behind a bridge and address translation the
/// uplink would not know it again by its device or its source.
#[inline(always)]
pub(crate) fn let_go(segment: &Segment) {
    let tag = syn_tag(&segment.dst, segment.dport, segment.seq);
    if let Some(place) = ON_THE_WAY.get_ptr_mut(tag as u32 % SYNS_ON_THEIR_WAY) {
        // SAFETY: an element of a live map.
        unsafe { core::ptr::write_volatile(place, tag) };
    }
}

/// Whether a SYN was accounted for where it came in.
#[inline(always)]
pub(crate) fn is_on_its_way(segment: &Segment) -> bool {
    let tag = syn_tag(&segment.dst, segment.dport, segment.seq);
    // SAFETY: an element of a live map.
    ON_THE_WAY
        .get_ptr(tag as u32 % SYNS_ON_THEIR_WAY)
        .is_some_and(|place| unsafe { core::ptr::read_volatile(place) } == tag)
}
