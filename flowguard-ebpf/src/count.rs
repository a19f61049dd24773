//! Counting: per source and class, per unregistered identity, and about ourselves.

use aya_ebpf::bindings::BPF_NOEXIST;
use flowguard_common::{
    counters::{ClassCounters, RESERVED, Stat},
    fanout::{self, FANOUT_WORDS, Fanout},
    flow::{FLOW_ESTABLISHED, FLOW_OUTCOMES, FLOW_REFUSED, FLOW_TIMED_OUT},
    settings::Settings,
    source::{FallbackEntry, FallbackKey},
    verdict::Decision,
};

use crate::{
    atomic, hooks,
    judge::{self, Attempt},
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

/// Counts one attempt of a registered source. A destination known from before it was registered
/// is no first contact.
#[inline(always)]
pub(crate) fn attempt(attempt: &Attempt, decision: Decision) {
    let how = attempt.how() | (decision as u32) << DECISION_SHIFT;
    // SAFETY: plain numbers.
    unsafe {
        count_attempt(
            attempt.index,
            attempt.hash,
            attempt.now_ns,
            how,
            attempt.id(),
        )
    };
}

/// Where the decision stands in what [`Attempt::how`] leaves free.
const DECISION_SHIFT: u32 = 16;

/// A global function (see [`judge`]).
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn count_attempt(index: u32, hash: u64, now_ns: u64, how: u32, id: u64) -> u32 {
    let attempt = Attempt::unpack(index, hash, now_ns, how, id);
    let decision = Decision::from_code(how >> DECISION_SHIFT);
    let (Some(counters), Some(settings)) = (
        COUNTERS.get_ptr_mut(index),
        hooks::settings_of(attempt.bank),
    ) else {
        return 0;
    };
    // SAFETY: an element of a live map.
    unsafe {
        count_decision(counters, decision);
        (*counters).last_seen_ns = now_ns;
        if !judge::makes_known(index, now_ns, decision) {
            return 0;
        }
        if let Some(fanout) = FANOUT.get_ptr_mut(index)
            && first_contact(settings, fanout, hash, now_ns)
            && !was_contacted(&attempt, settings)
        {
            atomic::add(&raw mut (*counters).destinations, 1);
        }
    }
    0
}

/// # Safety
///
/// `counters` points into a live map value.
#[inline(always)]
unsafe fn count_decision(counters: *mut ClassCounters, decision: Decision) {
    // SAFETY: the caller's promise.
    unsafe {
        atomic::add(&raw mut (*counters).attempts, 1);
        match decision {
            Decision::Pass => {}
            Decision::Deny => atomic::add(&raw mut (*counters).denied, 1),
            Decision::WouldDeny => atomic::add(&raw mut (*counters).would_deny, 1),
            Decision::Redirect => atomic::add(&raw mut (*counters).redirected, 1),
        }
    }
}

/// Adds to the counters of a source in a class.
#[inline(always)]
pub(crate) fn with(index: u32, add: impl FnOnce(*mut ClassCounters)) {
    if let Some(counters) = COUNTERS.get_ptr_mut(index) {
        add(counters);
    }
}

/// Counts a SYN that was seen before.
#[inline(always)]
pub(crate) fn retransmit(index: u32) {
    // SAFETY: an element of a live map.
    with(index, |counters| unsafe {
        atomic::add(&raw mut (*counters).retransmits, 1);
    });
}

/// Counts payload that was sent.
#[inline(always)]
pub(crate) fn bytes(index: u32, bytes: u32) {
    if bytes != 0 {
        // SAFETY: an element of a live map.
        with(index, |counters| unsafe {
            atomic::add(&raw mut (*counters).bytes, bytes.into());
        });
    }
}

/// Notes the outcome of an attempt, one of `FLOW_OUTCOMES`, and counts it if it is the first.
///
/// # Safety
///
/// `flags` points to the flags of a flow in a live map value.
#[inline(always)]
pub(crate) unsafe fn outcome(flags: *mut u32, outcome: u32, index: u32) {
    // SAFETY: the caller's promise.
    let before = unsafe { atomic::or32(flags, outcome) };
    if before & FLOW_OUTCOMES != 0 {
        return;
    }
    // SAFETY: an element of a live map.
    with(index, |counters| unsafe {
        let counter = match outcome {
            FLOW_ESTABLISHED => &raw mut (*counters).established,
            FLOW_REFUSED => &raw mut (*counters).refused,
            FLOW_TIMED_OUT => &raw mut (*counters).timed_out,
            _ => return,
        };
        atomic::add(counter, 1);
    });
}

/// Judges and counts one attempt of an identity nobody registered. True if the daemon should hear
/// of it: it is the first of its kind, or there is no room to count it, and being registered is its
/// way out.
#[inline(always)]
pub(crate) fn unregistered(
    key: &FallbackKey,
    hash: u64,
    now_ns: u64,
    bank: u32,
) -> (bool, Decision) {
    // SAFETY: plain numbers.
    let code = unsafe { count_unregistered(key.id, key.kind, key.class | bank << 8, hash, now_ns) };
    (code & FIRST != 0, Decision::from_code(code & !FIRST))
}

/// With the decision that [`count_unregistered`] returns: it is the first attempt.
const FIRST: u32 = 1 << 8;

/// A global function (see [`judge`]).
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn count_unregistered(
    id: u64,
    kind: u32,
    class_and_bank: u32,
    hash: u64,
    now_ns: u64,
) -> u32 {
    stat(Stat::Unregistered);
    let class = class_and_bank & 0xff;
    let key = FallbackKey { id, kind, class };
    let Some(settings) = hooks::settings_of(class_and_bank >> 8) else {
        return Decision::Pass as u32;
    };
    let mut created = 0;
    let entry = match FALLBACK.get_ptr_mut(key) {
        Some(entry) => entry,
        None => {
            // Another CPU may have been faster; then its entry serves both.
            let nothing: &FallbackEntry = &NOTHING_YET;
            if FALLBACK
                .insert(key, nothing, u64::from(BPF_NOEXIST))
                .is_ok()
            {
                created = FIRST;
            }
            match FALLBACK.get_ptr_mut(key) {
                Some(entry) => entry,
                None => {
                    stat(Stat::FallbackFull);
                    return FIRST | Decision::Pass as u32;
                }
            }
        }
    };
    // SAFETY: an element of a live map.
    unsafe {
        let counters = &raw mut (*entry).counters;
        let decision = judge::stranger(settings, &key, now_ns, &raw mut (*entry).ceiling);
        count_decision(counters, decision);
        if first_contact(settings, &raw mut (*entry).fanout, hash, now_ns) {
            atomic::add(&raw mut (*counters).destinations, 1);
        }
        (*counters).last_seen_ns = now_ns;
        created | decision as u32
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
        established: 0,
        refused: 0,
        timed_out: 0,
        redirected: 0,
        bytes: 0,
        replies: [0; 4],
        messages: 0,
        encrypted: 0,
        open_ms: 0,
        plain: 0,
        reserved: [0; RESERVED],
    },
    fanout: Fanout {
        epoch: 0,
        bits: [0; FANOUT_WORDS],
        before: [0; FANOUT_WORDS],
    },
    ceiling: 0,
};

/// Notes the destination; true on first contact in this epoch.
///
/// Two CPUs that start an epoch at once may each clear the other's first bits: a few destinations
/// more than there are, once an epoch.
#[inline(always)]
fn first_contact(settings: &Settings, fanout: *mut Fanout, hash: u64, now_ns: u64) -> bool {
    let epoch = epoch(settings, now_ns);
    let (word, bit) = fanout::position(hash);
    // SAFETY: an element of a live map, and `word` is below FANOUT_WORDS.
    unsafe {
        let bits = &raw mut (*fanout).bits;
        if (*fanout).epoch != epoch {
            let is_next = (*fanout).epoch + 1 == epoch;
            (*fanout).epoch = epoch;
            for word in 0..FANOUT_WORDS {
                let old = core::ptr::read_volatile(&raw const (*bits)[word]);
                let kept = if is_next { old } else { 0 };
                core::ptr::write_volatile(&raw mut (*fanout).before[word], kept);
                core::ptr::write_volatile(&raw mut (*bits)[word], 0);
            }
        }
        let word = &raw mut (*bits)[word % FANOUT_WORDS];
        // The test spares the common case an atomic operation.
        *word & bit == 0 && atomic::or(word, bit) & bit == 0
    }
}

/// Number of the epoch; never 0, which is what an unused bitmap has.
#[inline(always)]
fn epoch(settings: &Settings, now_ns: u64) -> u64 {
    now_ns.checked_div(settings.epoch_ns).unwrap_or(0) + 1
}

/// Whether the source has talked to the destination in this epoch or the one before.
#[inline(always)]
pub(crate) fn is_known(attempt: &Attempt, settings: &Settings) -> bool {
    let known = |fanout: *const Fanout| {
        let epoch = epoch(settings, attempt.now_ns);
        let (word, bit) = fanout::position(attempt.hash);
        let word = word % FANOUT_WORDS;
        // SAFETY: an element of a live map.
        unsafe {
            let (bits, before) = ((*fanout).bits[word], (*fanout).before[word]);
            fanout::is_known(epoch.wrapping_sub((*fanout).epoch), bits, before, bit)
        }
    };
    if FANOUT.get_ptr(attempt.index).is_some_and(known) {
        return true;
    }
    let Some(key) = &attempt.before else {
        return false;
    };
    FALLBACK
        .get_ptr(key)
        // SAFETY: an element of a live map.
        .is_some_and(|entry| known(unsafe { &raw const (*entry).fanout }))
}

/// Whether the destination was noted in this epoch while the source was not registered.
#[inline(always)]
fn was_contacted(attempt: &Attempt, settings: &Settings) -> bool {
    let Some(key) = &attempt.before else {
        return false;
    };
    let Some(entry) = FALLBACK.get_ptr(key) else {
        return false;
    };
    let (word, bit) = fanout::position(attempt.hash);
    // SAFETY: an element of a live map.
    unsafe {
        (*entry).fanout.epoch == epoch(settings, attempt.now_ns)
            && (*entry).fanout.bits[word % FANOUT_WORDS] & bit != 0
    }
}
