//! Evidence for the daemon, each source at its own rate.

use flowguard_common::{
    counters::Stat,
    event::{Event, NO_SOURCE},
    settings::Settings,
};

use crate::{
    count, judge,
    maps::{EVENT_RATE, EVENTS},
};

/// Whether the source may raise an event now; charges it.
#[inline(always)]
pub(crate) fn may_raise(settings: &Settings, source: u32, now_ns: u64) -> bool {
    if source == NO_SOURCE || !settings.event_rate.is_limited() {
        return true;
    }
    let Some(bucket) = EVENT_RATE.get_ptr_mut(source) else {
        return false;
    };
    let may = judge::conform(bucket, &settings.event_rate, now_ns, 0);
    if !may {
        count::stat(Stat::RateLimited);
    }
    may
}

/// Hands an event to the daemon, or counts that it was dropped.
#[inline(always)]
pub(crate) fn raise(event: Event) {
    match EVENTS.reserve(0) {
        Some(mut entry) => {
            entry.write(event);
            entry.submit(0);
            count::stat(Stat::Delivered);
        }
        None => count::stat(Stat::RingFull),
    }
}
