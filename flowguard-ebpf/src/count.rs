//! Counting: per source and class, per unregistered identity, and about ourselves.

use aya_ebpf::bindings::BPF_NOEXIST;
use flowguard_common::{
    addr::{self, Addr},
    class::Class,
    counters::{ClassCounters, Stat},
    fanout::{self, FANOUT_WORDS},
    settings::Settings,
    source::FallbackKey,
    verdict::Decision,
};

use crate::{
    atomic,
    maps::{COUNTERS, FALLBACK, FANOUT, STATS},
};

/// Counts something about the guard itself.
#[inline(always)]
pub(crate) fn stat(stat: Stat) {
    if let Some(counter) = STATS.get_ptr_mut(stat as u32) {
        // SAFETY: an element of a live map.
        unsafe { atomic::add(counter, 1) };
    }
}

/// Counts one attempt of a registered source.
#[inline(always)]
pub(crate) fn attempt(
    settings: &Settings,
    source: u32,
    class: Class,
    dst: &Addr,
    now_ns: u64,
    decision: Decision,
) {
    let index = class.index(source);
    let Some(counters) = COUNTERS.get_ptr_mut(index) else {
        return;
    };
    // SAFETY: an element of a live map.
    unsafe {
        atomic::add(&raw mut (*counters).attempts, 1);
        match decision {
            Decision::Pass => {}
            Decision::Deny => atomic::add(&raw mut (*counters).denied, 1),
            Decision::WouldDeny => atomic::add(&raw mut (*counters).would_deny, 1),
        }
        if first_contact(settings, index, dst, now_ns) {
            atomic::add(&raw mut (*counters).destinations, 1);
        }
        (*counters).last_seen_ns = now_ns;
    }
}

/// Counts a SYN that was seen before.
#[inline(always)]
pub(crate) fn retransmit(source: u32, class: Class) {
    if let Some(counters) = COUNTERS.get_ptr_mut(class.index(source)) {
        // SAFETY: an element of a live map.
        unsafe { atomic::add(&raw mut (*counters).retransmits, 1) };
    }
}

/// Counts one attempt of an identity nobody registered; true if it is the first of its kind.
#[inline(always)]
pub(crate) fn unregistered(key: &FallbackKey, now_ns: u64) -> bool {
    stat(Stat::Unregistered);
    let mut created = false;
    let counters = match FALLBACK.get_ptr_mut(key) {
        Some(counters) => counters,
        None => {
            let zero = ClassCounters {
                attempts: 0,
                denied: 0,
                would_deny: 0,
                destinations: 0,
                retransmits: 0,
                last_seen_ns: 0,
                reserved: [0; 10],
            };
            // Another CPU may have been faster; then its entry serves both.
            created = FALLBACK.insert(key, &zero, u64::from(BPF_NOEXIST)).is_ok();
            match FALLBACK.get_ptr_mut(key) {
                Some(counters) => counters,
                None => {
                    stat(Stat::FallbackFull);
                    return false;
                }
            }
        }
    };
    // SAFETY: an element of a live map.
    unsafe {
        atomic::add(&raw mut (*counters).attempts, 1);
        (*counters).last_seen_ns = now_ns;
    }
    created
}

/// Notes the destination; true on first contact in this epoch.
///
/// Two CPUs that start an epoch at once may each clear the other's first bits: a few destinations
/// more than there are, once an epoch.
#[inline(always)]
fn first_contact(settings: &Settings, index: u32, dst: &Addr, now_ns: u64) -> bool {
    let Some(fanout) = FANOUT.get_ptr_mut(index) else {
        return false;
    };
    let epoch = if settings.epoch_ns == 0 {
        1
    } else {
        now_ns / settings.epoch_ns + 1
    };
    let (word, bit) = fanout::position(addr::hash(dst, settings.hash_seed));
    // SAFETY: an element of a live map, and `word` is below FANOUT_WORDS.
    unsafe {
        if (*fanout).epoch != epoch {
            (*fanout).epoch = epoch;
            for word in 0..FANOUT_WORDS {
                core::ptr::write_volatile(&raw mut (*fanout).bits[word], 0);
            }
        }
        let word = &raw mut (*fanout).bits[word % FANOUT_WORDS];
        // The test spares the common case an atomic operation.
        *word & bit == 0 && atomic::or(word, bit) & bit == 0
    }
}
