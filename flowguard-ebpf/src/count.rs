//! Counting: per source and class, per unregistered identity, and about ourselves.

use aya_ebpf::bindings::BPF_NOEXIST;
use flowguard_common::{
    addr::{self, Addr},
    class::Class,
    counters::{ClassCounters, RESERVED, Stat},
    fanout::{self, FANOUT_WORDS, Fanout},
    settings::Settings,
    source::{FallbackEntry, FallbackKey},
    verdict::Decision,
};

use crate::{
    atomic, judge,
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

/// Counts one attempt of a registered source. `before` is the identity under which it was counted
/// until it was registered: a destination known from then is no first contact.
#[inline(always)]
pub(crate) fn attempt(
    settings: &Settings,
    source: u32,
    class: Class,
    dst: &Addr,
    now_ns: u64,
    decision: Decision,
    before: Option<&FallbackKey>,
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
        let fanout = FANOUT.get_ptr_mut(index);
        if fanout.is_some_and(|fanout| first_contact(settings, fanout, dst, now_ns))
            && !before.is_some_and(|key| was_contacted(settings, key, dst, now_ns))
        {
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

/// Judges and counts one attempt of an identity nobody registered. True if the daemon should hear
/// of it: it is the first of its kind, or there is no room to count it, and being registered is its
/// way out.
#[inline(always)]
pub(crate) fn unregistered(
    settings: &Settings,
    key: &FallbackKey,
    class: Class,
    dst: &Addr,
    now_ns: u64,
) -> (bool, Decision) {
    stat(Stat::Unregistered);
    let mut created = false;
    let entry = match FALLBACK.get_ptr_mut(key) {
        Some(entry) => entry,
        None => {
            // Another CPU may have been faster; then its entry serves both.
            let nothing: &FallbackEntry = &NOTHING_YET;
            created = FALLBACK
                .insert(key, nothing, u64::from(BPF_NOEXIST))
                .is_ok();
            match FALLBACK.get_ptr_mut(key) {
                Some(entry) => entry,
                None => {
                    stat(Stat::FallbackFull);
                    return (true, Decision::Pass);
                }
            }
        }
    };
    // SAFETY: an element of a live map.
    unsafe {
        let counters = &raw mut (*entry).counters;
        let decision = judge::stranger(settings, class, now_ns, &raw mut (*entry).ceiling);
        atomic::add(&raw mut (*counters).attempts, 1);
        match decision {
            Decision::Pass => {}
            Decision::Deny => atomic::add(&raw mut (*counters).denied, 1),
            Decision::WouldDeny => atomic::add(&raw mut (*counters).would_deny, 1),
        }
        if first_contact(settings, &raw mut (*entry).fanout, dst, now_ns) {
            atomic::add(&raw mut (*counters).destinations, 1);
        }
        (*counters).last_seen_ns = now_ns;
        (created, decision)
    }
}

/// The bucket of the ceiling that an identity was held to until it was registered.
#[inline(always)]
pub(crate) fn ceiling_before(key: &FallbackKey) -> u64 {
    match FALLBACK.get_ptr(key) {
        // SAFETY: an element of a live map.
        Some(entry) => unsafe { core::ptr::read_volatile(&raw const (*entry).ceiling) },
        None => 0,
    }
}

/// A new entry. Too large for a program's stack of 512 bytes.
static NOTHING_YET: FallbackEntry = FallbackEntry {
    counters: ClassCounters {
        attempts: 0,
        denied: 0,
        would_deny: 0,
        destinations: 0,
        retransmits: 0,
        last_seen_ns: 0,
        reserved: [0; RESERVED],
    },
    fanout: Fanout {
        epoch: 0,
        bits: [0; FANOUT_WORDS],
    },
    ceiling: 0,
};

/// Notes the destination; true on first contact in this epoch.
///
/// Two CPUs that start an epoch at once may each clear the other's first bits: a few destinations
/// more than there are, once an epoch.
#[inline(always)]
fn first_contact(settings: &Settings, fanout: *mut Fanout, dst: &Addr, now_ns: u64) -> bool {
    let epoch = epoch(settings, now_ns);
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

/// Number of the epoch; never 0, which is what an unused bitmap has.
#[inline(always)]
fn epoch(settings: &Settings, now_ns: u64) -> u64 {
    now_ns.checked_div(settings.epoch_ns).unwrap_or(0) + 1
}

/// Whether the destination was noted in this epoch while the source was not registered.
#[inline(always)]
fn was_contacted(settings: &Settings, key: &FallbackKey, dst: &Addr, now_ns: u64) -> bool {
    let Some(entry) = FALLBACK.get_ptr(key) else {
        return false;
    };
    let (word, bit) = fanout::position(addr::hash(dst, settings.hash_seed));
    // SAFETY: an element of a live map.
    unsafe {
        (*entry).fanout.epoch == epoch(settings, now_ns)
            && (*entry).fanout.bits[word % FANOUT_WORDS] & bit != 0
    }
}
