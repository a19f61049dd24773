//! Judging: the verdict's ruling, then the ceilings.

use flowguard_common::{
    class::Class,
    counters::Stat,
    settings::Settings,
    verdict::{Decision, Rate, Ruling, VerdictKey, refuse},
};

use crate::{
    atomic, count,
    maps::{BUCKETS, VERDICTS},
};

/// Tries at a bucket under contention before the attempt is let pass.
const BUCKET_TRIES: u32 = 64;

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

/// Judges a new attempt; limits are charged for it.
#[inline(always)]
pub(crate) fn attempt(settings: &Settings, source: u32, class: Class, now_ns: u64) -> Decision {
    let (ruling, rate) = ruling(source, class, now_ns);
    match ruling {
        Ruling::Allow => return Decision::Pass,
        Ruling::Deny { by_hand } => return refuse(settings.mode, by_hand),
        Ruling::Ceiling => {}
        Ruling::Limit { by_hand } => {
            if !charge(source, class, now_ns, &rate, true) {
                return refuse(settings.mode, by_hand);
            }
        }
    }
    let ceiling = &settings.ceilings[class as usize];
    if charge(source, class, now_ns, ceiling, false) {
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

/// Takes one attempt out of a bucket, if it conforms.
#[inline(always)]
fn charge(source: u32, class: Class, now_ns: u64, rate: &Rate, verdict: bool) -> bool {
    if !rate.is_limited() {
        return true;
    }
    let Some(buckets) = BUCKETS.get_ptr_mut(class.index(source)) else {
        return true;
    };
    // SAFETY: an element of a live map.
    let bucket = unsafe {
        if verdict {
            &raw mut (*buckets).limit
        } else {
            &raw mut (*buckets).ceiling
        }
    };
    conform(bucket, rate, now_ns)
}

/// One step of GCRA on a shared bucket.
#[inline(always)]
pub(crate) fn conform(bucket: *mut u64, rate: &Rate, now_ns: u64) -> bool {
    for _ in 0..BUCKET_TRIES {
        // SAFETY: the callers pass elements of live maps.
        let old = unsafe { core::ptr::read_volatile(bucket) };
        let Some(new) = rate.conform(old, now_ns) else {
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
