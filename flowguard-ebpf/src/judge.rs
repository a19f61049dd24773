//! Judging: the verdict's ruling, then the ceilings.
//!
//! What is reached from several places, or loops, is a *global function*: one that the verifier
//! checks once by itself, with any numbers as arguments, instead of along every path that leads to
//! it. Hence plain numbers as arguments, at most five (Linux 5.6; pointers would need 5.13).

use flowguard_common::{
    class::CLASSES,
    judge::{self, Bucket},
    settings::Settings,
    source::FallbackKey,
    verdict::{Decision, Rate, Ruling, Verdict, VerdictKey, bpf_spin_lock, refuse},
};

use crate::{
    count, hooks,
    maps::{BUCKETS, EVENT_RATE, STRAY_RATE, VERDICTS},
};

/// Who is judged, in the packed form that crosses a function call.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    /// [`flowguard_common::class::Class::index`] of the source.
    pub(crate) index: u32,
    /// Hash of the destination.
    pub(crate) hash: u64,
    /// `CLOCK_BOOTTIME`.
    pub(crate) now_ns: u64,
    /// Bank of the settings that the hook goes by.
    pub(crate) bank: u32,
    /// The identity under which the source was counted until it was registered: destinations and
    /// the ceiling's bucket go on from there.
    pub(crate) before: Option<FallbackKey>,
}

impl Attempt {
    const HAS_KEY: u32 = 8;
    const KIND_SHIFT: u32 = 8;

    /// Bank, class and kind of the earlier identity in one number.
    #[inline(always)]
    pub(crate) fn how(&self) -> u32 {
        let kind = match &self.before {
            Some(key) => Self::HAS_KEY | (key.kind << Self::KIND_SHIFT),
            None => 0,
        };
        bank_and_class(self.bank, self.index) | kind
    }

    /// Id of the earlier identity.
    #[inline(always)]
    pub(crate) fn id(&self) -> u64 {
        match &self.before {
            Some(key) => key.id,
            None => 0,
        }
    }

    /// The attempt that was packed.
    #[inline(always)]
    pub(crate) fn unpack(index: u32, hash: u64, now_ns: u64, how: u32, id: u64) -> Self {
        let before = FallbackKey {
            id,
            kind: how >> Self::KIND_SHIFT & 0xff,
            class: class_of(how),
        };
        Self {
            index,
            hash,
            now_ns,
            bank: bank_of(how),
            before: (how & Self::HAS_KEY != 0).then_some(before),
        }
    }

    #[inline(always)]
    fn verdict(&self) -> Option<Verdict> {
        verdict_of(self.index)
    }
}

const BANK: u32 = 1;
const CLASS_SHIFT: u32 = 1;

/// The class goes along with the index it is part of: the verifier does not follow a remainder, so
/// that `index % CLASSES` could not index an array ("R1 unbounded memory access", Linux 6.18).
#[inline(always)]
fn bank_and_class(bank: u32, index: u32) -> u32 {
    bank & BANK | (index % CLASSES) << CLASS_SHIFT
}

#[inline(always)]
fn bank_of(how: u32) -> u32 {
    how & BANK
}

#[inline(always)]
fn class_of(how: u32) -> u32 {
    how >> CLASS_SHIFT & 3
}

/// The ceiling of a class.
#[inline(always)]
fn ceiling(settings: &Settings, class: u32) -> &Rate {
    settings
        .ceilings
        .get(class as usize)
        .unwrap_or(&Rate::UNLIMITED)
}

/// The verdict on a source in a class.
#[inline(always)]
fn verdict_of(index: u32) -> Option<Verdict> {
    let key = VerdictKey {
        source: index / CLASSES,
        class: index % CLASSES,
    };
    let verdict = VERDICTS.get_ptr(key)?;
    // SAFETY: a value of a live map. Its memory is reused as soon as the entry is replaced, so it
    // is copied, and what it says of its owner is looked at after the copy.
    let (copy, owner) = unsafe {
        let copy = core::ptr::read_volatile(verdict);
        (copy, core::ptr::read_volatile(&raw const (*verdict).key))
    };
    (copy.key == key && owner == key).then_some(copy)
}

/// Who answers for an attempt: the task that connects, unless it is exempt and the socket's maker
/// is not. The other one comes second.
#[inline(always)]
pub(crate) fn responsible(task: u32, maker: u32, class: u32, now_ns: u64) -> (u32, u32) {
    let allowed = |source: u32| {
        // SAFETY: plain numbers.
        unsafe { is_allowed(source.wrapping_mul(CLASSES).wrapping_add(class), now_ns) != 0 }
    };
    if task != maker && allowed(task) && !allowed(maker) {
        (maker, task)
    } else {
        (task, maker)
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn is_allowed(index: u32, now_ns: u64) -> u32 {
    let ruling = verdict_of(index).map(|verdict| verdict.ruling(now_ns));
    u32::from(ruling == Some(Ruling::Allow))
}

/// What a verdict alone says of an attempt; nothing is charged.
#[inline(always)]
pub(crate) fn verdict(index: u32, bank: u32, now_ns: u64) -> Decision {
    // SAFETY: plain numbers.
    Decision::from_code(unsafe { judge_again(index, bank_and_class(bank, index), now_ns, 0) })
}

/// Judges a packet of an attempt that was judged before (see [`judge::again`]).
#[inline(always)]
pub(crate) fn again(index: u32, bank: u32, now_ns: u64, denied: bool) -> Decision {
    // SAFETY: plain numbers.
    let code = unsafe {
        judge_again(
            index,
            bank_and_class(bank, index),
            now_ns,
            u32::from(denied),
        )
    };
    Decision::from_code(code)
}

#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn judge_again(index: u32, how: u32, now_ns: u64, denied: u32) -> u32 {
    let Some(settings) = hooks::settings_of(bank_of(how)) else {
        return Decision::Pass as u32;
    };
    let ceiling = ceiling(settings, class_of(how));
    let verdict = verdict_of(index);
    judge::again(
        verdict.as_ref(),
        settings.mode,
        now_ns,
        ceiling,
        denied != 0,
    ) as u32
}

/// Whether an attempt makes its destination known.
#[inline(always)]
pub(crate) fn makes_known(index: u32, now_ns: u64, decision: Decision) -> bool {
    judge::makes_known(verdict_of(index).as_ref(), now_ns, decision)
}

/// Whether packets of the source's open connections are to be dropped.
#[inline(always)]
pub(crate) fn is_severed(settings: &Settings, index: u32, now_ns: u64) -> bool {
    verdict_of(index).is_some_and(|verdict| verdict.severs(settings.mode, now_ns))
}

/// Judges a new attempt; limits are charged for it.
#[inline(always)]
pub(crate) fn attempt(attempt: &Attempt) -> Decision {
    // SAFETY: plain numbers.
    let code = unsafe {
        judge_attempt(
            attempt.index,
            attempt.hash,
            attempt.now_ns,
            attempt.how(),
            attempt.id(),
        )
    };
    Decision::from_code(code)
}

#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn judge_attempt(index: u32, hash: u64, now_ns: u64, how: u32, id: u64) -> u32 {
    let attempt = Attempt::unpack(index, hash, now_ns, how, id);
    let Some(settings) = hooks::settings_of(attempt.bank) else {
        return Decision::Pass as u32;
    };
    let decision = judge::attempt(
        attempt.verdict().as_ref(),
        settings.mode,
        now_ns,
        ceiling(settings, class_of(how)),
        || count::is_known(&attempt, settings),
        |bucket, rate| {
            let (which, start) = match bucket {
                Bucket::Limit => (Which::Limit, 0),
                Bucket::Ceiling => {
                    let before = attempt.before.as_ref();
                    (Which::Ceiling, before.map_or(0, count::ceiling_before))
                }
            };
            charge(index, which, rate, now_ns, start)
        },
    );
    decision as u32
}

/// One of a source's buckets.
#[derive(Clone, Copy)]
pub(crate) enum Which {
    /// Of a verdict's limit; by source and class.
    Limit = 0,
    /// Of the ceiling; by source and class.
    Ceiling = 1,
    /// Of events about attempts; by source.
    Attempts = 2,
    /// Of events about replies; by source.
    Replies = 3,
    /// Of events about strays; there is one.
    Strays = 4,
    /// Of events about prefixes at gateways that nobody registered yet; there is one.
    Newcomers = 5,
}

/// Takes one out of a bucket, if it conforms. `start` is where a bucket that was never used begins.
#[inline(always)]
pub(crate) fn charge(index: u32, which: Which, rate: &Rate, now_ns: u64, start: u64) -> bool {
    if !rate.is_limited() {
        return true;
    }
    let place = (which as u64) << 32 | u64::from(index);
    // SAFETY: plain numbers.
    unsafe { charge_bucket(place, rate.interval_ns, rate.burst, now_ns, start) != 0 }
}

#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn charge_bucket(
    place: u64,
    interval_ns: u64,
    burst: u64,
    now_ns: u64,
    start: u64,
) -> u32 {
    let Some((bucket, lock)) = bucket((place >> 32) as u32, place as u32) else {
        return 1;
    };
    let rate = Rate { interval_ns, burst };
    u32::from(conform(bucket, lock, &rate, now_ns, start))
}

const NO_LOCK: *mut bpf_spin_lock = core::ptr::null_mut();

/// A bucket, and the lock to hold; null: none. Not an `Option`, of which the compiler reads the unset
/// half as well ("invalid read from stack", Linux 5.10).
#[inline(always)]
fn bucket(which: u32, index: u32) -> Option<(*mut u64, *mut bpf_spin_lock)> {
    const LIMIT: u32 = Which::Limit as u32;
    const CEILING: u32 = Which::Ceiling as u32;
    const ATTEMPTS: u32 = Which::Attempts as u32;
    const REPLIES: u32 = Which::Replies as u32;
    const STRAYS: u32 = Which::Strays as u32;

    // SAFETY: elements of live maps.
    unsafe {
        Some(match which {
            LIMIT | CEILING => {
                let buckets = BUCKETS.get_ptr_mut(index)?;
                let bucket = if which == LIMIT {
                    &raw mut (*buckets).limit
                } else {
                    &raw mut (*buckets).ceiling
                };
                (bucket, &raw mut (*buckets).lock)
            }
            ATTEMPTS => (&raw mut (*EVENT_RATE.get_ptr_mut(index)?).attempts, NO_LOCK),
            REPLIES => (&raw mut (*EVENT_RATE.get_ptr_mut(index)?).replies, NO_LOCK),
            STRAYS => (STRAY_RATE.get_ptr_mut(0)?, NO_LOCK),
            _ => (STRAY_RATE.get_ptr_mut(1)?, NO_LOCK),
        })
    }
}

/// Judges an attempt of somebody who is not registered: only the ceiling holds.
#[inline(always)]
pub(crate) fn stranger(
    settings: &Settings,
    key: &FallbackKey,
    now_ns: u64,
    bucket: *mut u64,
) -> Decision {
    let ceiling = ceiling(settings, key.class);
    if !ceiling.is_limited() {
        return Decision::Pass;
    }
    let Some(lock) = lock_of(key) else {
        return Decision::Pass;
    };
    if conform(bucket, lock, ceiling, now_ns, 0) {
        Decision::Pass
    } else {
        refuse(settings.mode, false)
    }
}

/// The lock of a stranger's bucket.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
fn lock_of(_key: &FallbackKey) -> Option<*mut bpf_spin_lock> {
    Some(NO_LOCK)
}

/// The lock of a stranger's bucket, which has none of its own: that of some source. Its bucket and the
/// stranger's only wait for each other.
#[cfg(feature = "legacy")]
#[inline(always)]
fn lock_of(key: &FallbackKey) -> Option<*mut bpf_spin_lock> {
    /// Fewer than there are sources in the smallest guard.
    const LOCKS: u64 = 16;

    let index = (key.id % LOCKS) as u32 * CLASSES + key.class % CLASSES;
    let buckets = BUCKETS.get_ptr_mut(index)?;
    // SAFETY: an element of a live map.
    Some(unsafe { &raw mut (*buckets).lock })
}

/// One step of GCRA on a shared bucket.
#[cfg(not(feature = "legacy"))]
#[inline(always)]
fn conform(
    bucket: *mut u64,
    _lock: *mut bpf_spin_lock,
    rate: &Rate,
    now_ns: u64,
    start: u64,
) -> bool {
    /// Tries under contention before the attempt is let pass.
    const TRIES: u32 = 8;

    for _ in 0..TRIES {
        // SAFETY: the callers pass elements of live maps.
        let old = unsafe { core::ptr::read_volatile(bucket) };
        let level = if old == 0 { start } else { old };
        let Some(new) = rate.conform(level, now_ns) else {
            return false;
        };
        // SAFETY: as above.
        if unsafe { crate::atomic::replace(bucket, old, new) } {
            return true;
        }
    }
    count::stat(flowguard_common::counters::Stat::Contended);
    true
}

/// The same where there is no compare-and-exchange: under a lock. The buckets of events have none, and
/// may let one more pass under contention.
#[cfg(feature = "legacy")]
#[inline(always)]
fn conform(
    bucket: *mut u64,
    lock: *mut bpf_spin_lock,
    rate: &Rate,
    now_ns: u64,
    start: u64,
) -> bool {
    use aya_ebpf::helpers::generated;

    if !lock.is_null() {
        // SAFETY: the lock of the map element that the bucket is in.
        unsafe { generated::bpf_spin_lock(lock.cast()) };
    }
    // SAFETY: the callers pass elements of live maps.
    let old = unsafe { core::ptr::read_volatile(bucket) };
    let level = if old == 0 { start } else { old };
    let new = rate.conform(level, now_ns);
    if let Some(new) = new {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(bucket, new) };
    }
    if !lock.is_null() {
        // SAFETY: as above.
        unsafe { generated::bpf_spin_unlock(lock.cast()) };
    }
    new.is_some()
}
