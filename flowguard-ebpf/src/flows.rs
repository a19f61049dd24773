//! Remembering attempts: on sockets, and per device for packets without one.

use flowguard_common::{
    class::CLASSES,
    counters::Stat,
    event::NO_SOURCE,
    flow::{
        FLOW_CLASS, FLOW_CLOSED, FLOW_ESTABLISHED, FLOW_TIMED_OUT, FLOW_WAYS, Flow,
        SYNS_ON_THEIR_WAY, flow_set, syn_tag,
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

/// The place of an attempt in its device's table, and whether it is remembered there.
pub(crate) struct Place {
    pub(crate) flow: *mut Flow,
    pub(crate) found: bool,
}

/// Finds an attempt, or the place that it can have: one of its set that is free or closed, else
/// that of the oldest attempt. None: the table is smaller than the daemon believes.
#[inline(always)]
pub(crate) fn find(slot: u32, tag: u64) -> Option<Place> {
    // SAFETY: plain numbers.
    let place = unsafe { find_flow(slot, tag) };
    Some(Place {
        flow: FLOWS.get_ptr_mut(place as u32)?,
        found: place & FOUND != 0,
    })
}

/// With the index that [`find_flow`] returns: the attempt is there.
const FOUND: u64 = 1 << 32;

/// A global function (see [`crate::judge`]).
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn find_flow(slot: u32, tag: u64) -> u64 {
    let set = flow_set(slot, tag);
    let mut place = u64::from(u32::MAX);
    let mut oldest = u64::MAX;
    for way in 0..FLOW_WAYS {
        let index = set.wrapping_add(way);
        let Some(flow) = FLOWS.get_ptr_mut(index) else {
            break;
        };
        // SAFETY: an element of a live map.
        let (found, flags, time_ns) = unsafe { ((*flow).tag, (*flow).flags, (*flow).time_ns) };
        if found == tag {
            return FOUND | u64::from(index);
        }
        let age = if flags & FLOW_CLOSED != 0 { 0 } else { time_ns };
        if age < oldest {
            oldest = age;
            place = index.into();
        }
    }
    place
}

/// Makes a place an attempt's. What was there before is settled: it has timed out if it was the same
/// two ends' or old enough, else its outcome is lost.
///
/// # Safety
///
/// The place is in a live map.
#[inline(always)]
pub(crate) unsafe fn begin(place: &Place, source: u32, answer_ns: u64, new: &Flow) {
    let flow = place.flow;
    // SAFETY: the caller's promise.
    unsafe {
        if (*flow).is_open() && source != NO_SOURCE {
            if place.found || (*flow).is_overdue(new.time_ns, answer_ns) {
                let index = index_of(source, (*flow).flags);
                count::outcome(&raw mut (*flow).flags, FLOW_TIMED_OUT, index);
            } else {
                count::stat(Stat::FlowForgotten);
            }
        }
        *flow = *new;
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
