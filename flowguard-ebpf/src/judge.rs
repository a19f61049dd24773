//! Judging: the verdict's ruling, then the ceilings.

use flowguard_common::{
    class::Class,
    counters::Stat,
    settings::Settings,
    source::FallbackKey,
    verdict::{Decision, Rate, Ruling, VerdictKey, refuse},
};

use crate::{
    atomic, count,
    maps::{BUCKETS, VERDICTS},
};

/// Tries at a bucket under contention before the attempt is let pass. Each is a path more for the
/// verifier, in every place that charges: 64 of them were beyond its million instructions (6.18).
const BUCKET_TRIES: u32 = 8;

/// What the verdict in force says, and its rate.
#[inline(always)]
fn ruling(source: u32, class: Class, now_ns: u64) -> (Ruling, Rate) {
    let key = VerdictKey {
        source,
        class: class as u32,
    };
    let nothing = (Ruling::Ceiling, Rate::UNLIMITED);
    let Some(verdict) = VERDICTS.get_ptr(key) else {
        return nothing;
    };
    // SAFETY: a value of a live map. Its memory is reused as soon as the entry is replaced, so it
    // is copied, and what it says of its owner is looked at after the copy.
    let (copy, owner) = unsafe {
        let copy = core::ptr::read_volatile(verdict);
        (copy, core::ptr::read_volatile(&raw const (*verdict).key))
    };
    if copy.key == key && owner == key {
        (copy.ruling(now_ns), copy.rate)
    } else {
        nothing
    }
}

/// Who answers for an attempt: the task that connects, unless it is exempt and the socket's maker
/// is not. The other one comes second.
#[inline(always)]
pub(crate) fn responsible(task: u32, maker: u32, class: Class, now_ns: u64) -> (u32, u32) {
    if task != maker && is_allowed(task, class, now_ns) && !is_allowed(maker, class, now_ns) {
        (maker, task)
    } else {
        (task, maker)
    }
}

#[inline(always)]
fn is_allowed(source: u32, class: Class, now_ns: u64) -> bool {
    ruling(source, class, now_ns).0 == Ruling::Allow
}

/// What a verdict alone says of an attempt; nothing is charged.
#[inline(always)]
pub(crate) fn verdict(settings: &Settings, source: u32, class: Class, now_ns: u64) -> Decision {
    match ruling(source, class, now_ns).0 {
        Ruling::Deny { by_hand } => refuse(settings.mode, by_hand),
        _ => Decision::Pass,
    }
}

/// Judges a new attempt; limits are charged for it. `before` is the identity under which it was
/// counted until it was registered: its ceiling's bucket goes on from there.
#[inline(always)]
pub(crate) fn attempt(
    settings: &Settings,
    source: u32,
    class: Class,
    now_ns: u64,
    before: Option<&FallbackKey>,
) -> Decision {
    let (ruling, rate) = ruling(source, class, now_ns);
    match ruling {
        Ruling::Allow => return Decision::Pass,
        Ruling::Deny { by_hand } => return refuse(settings.mode, by_hand),
        Ruling::Ceiling => {}
        Ruling::Limit { by_hand } => {
            let buckets = BUCKETS.get_ptr_mut(class.index(source));
            // SAFETY: an element of a live map.
            let bucket = buckets.map(|buckets| unsafe { &raw mut (*buckets).limit });
            if !charge(bucket, &rate, now_ns, 0) {
                return refuse(settings.mode, by_hand);
            }
        }
    }
    let ceiling = &settings.ceilings[class as usize];
    if !ceiling.is_limited() {
        return Decision::Pass;
    }
    let start = before.map_or(0, count::ceiling_before);
    let buckets = BUCKETS.get_ptr_mut(class.index(source));
    // SAFETY: an element of a live map.
    let bucket = buckets.map(|buckets| unsafe { &raw mut (*buckets).ceiling });
    if charge(bucket, ceiling, now_ns, start) {
        Decision::Pass
    } else {
        refuse(settings.mode, false)
    }
}

/// Judges an attempt of somebody who is not registered: only the ceiling holds.
#[inline(always)]
pub(crate) fn stranger(
    settings: &Settings,
    class: Class,
    now_ns: u64,
    bucket: *mut u64,
) -> Decision {
    if charge(Some(bucket), &settings.ceilings[class as usize], now_ns, 0) {
        Decision::Pass
    } else {
        refuse(settings.mode, false)
    }
}

/// Judges a packet of an attempt that was judged before; nothing is charged. A block that came
/// since holds, and one that ended lets go; what a limit refused stays refused.
#[inline(always)]
pub(crate) fn again(
    settings: &Settings,
    source: u32,
    class: Class,
    now_ns: u64,
    denied: bool,
) -> Decision {
    match ruling(source, class, now_ns).0 {
        Ruling::Deny { by_hand } => refuse(settings.mode, by_hand),
        Ruling::Limit { by_hand } if denied => refuse(settings.mode, by_hand),
        Ruling::Ceiling if denied && settings.ceilings[class as usize].is_limited() => {
            refuse(settings.mode, false)
        }
        _ => Decision::Pass,
    }
}

/// Takes one attempt out of a bucket, if it conforms. `start` is where a bucket that was never used
/// begins.
#[inline(always)]
fn charge(bucket: Option<*mut u64>, rate: &Rate, now_ns: u64, start: u64) -> bool {
    match bucket {
        Some(bucket) if rate.is_limited() => conform(bucket, rate, now_ns, start),
        _ => true,
    }
}

/// One step of GCRA on a shared bucket.
#[inline(always)]
pub(crate) fn conform(bucket: *mut u64, rate: &Rate, now_ns: u64, start: u64) -> bool {
    for _ in 0..BUCKET_TRIES {
        // SAFETY: the callers pass elements of live maps.
        let old = unsafe { core::ptr::read_volatile(bucket) };
        let level = if old == 0 { start } else { old };
        let Some(new) = rate.conform(level, now_ns) else {
            return false;
        };
        // SAFETY: as above.
        if unsafe { atomic::replace(bucket, old, new) } {
            return true;
        }
    }
    count::stat(Stat::Contended);
    true
}
