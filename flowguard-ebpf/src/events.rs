//! Evidence for the daemon, each source at its own rate.

use flowguard_common::{counters::Stat, event::Event, settings::Settings};

use crate::{
    count,
    judge::{self, Which},
    maps::EVENTS,
};

/// Whether the source may raise an event now; charges its bucket.
#[inline(always)]
pub(crate) fn may_raise(settings: &Settings, which: Which, source: u32, now_ns: u64) -> bool {
    let may = judge::charge(source, which, &settings.event_rate, now_ns, 0);
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
