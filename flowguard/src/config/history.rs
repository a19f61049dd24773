//! `[history]`: how long what was seen is kept.

use std::time::Duration;

use super::{check::Checker, raw::RawHistory};
use crate::store::Retention;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Ten years and some days.
const LONGEST: Duration = Duration::from_hours(24 * 3_660);
/// Minutes of a year would be more than any database here should hold.
const LONGEST_MINUTES: Duration = Duration::from_hours(24 * 366);

/// Below that, not even the records of a bad day would find room.
const MIN_BYTES: i64 = 16 << 20;
const MAX_BYTES: i64 = 1 << 40;

pub(super) fn history(raw: &RawHistory, check: &mut Checker<'_>) -> Option<Retention> {
    // An hour is made from its minutes once it is over.
    let minutes = check.duration("history.minutes", &raw.minutes, 2 * HOUR, LONGEST_MINUTES);
    let hours = check.duration("history.hours", &raw.hours, DAY, LONGEST);
    let records = check.duration("history.records", &raw.records, DAY, LONGEST);
    let max_bytes = check.integer("history.max_bytes", &raw.max_bytes, MIN_BYTES, MAX_BYTES);
    if let (Some(minutes), Some(hours)) = (minutes, hours)
        && hours < minutes
    {
        let message = "hours are kept for a shorter time than minutes: what is coarser is to reach \
                       further back";
        check.note("history.hours", &raw.hours, message);
    }
    Some(Retention {
        minutes: minutes?,
        hours: hours?,
        records: records?,
        max_bytes: max_bytes?,
    })
}
