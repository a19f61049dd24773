//! The past that the daemon keeps.

use flowguard_common::source::Kind;
use jiff::Timestamp;

use super::trial::Trial;
use crate::{
    control::api::{Skipped, Stretch},
    model::{SourceName, Totals},
    policy::{Counter, Fields},
    store::{Activity, Reader, Span, StoreError},
};

/// Tries all of them over what was done since then, seconds since 1970. What it was that they were
/// tried over, and what of it could not be read.
///
/// What is known by the minute or the hour only is spread over it, as finely as the shortest window
/// of a rule asks for: in no window is there more than there was in some window of that length, but
/// there may be less.
///
/// # Errors
///
/// The database fails.
pub fn over_history(
    reader: &Reader,
    since: i64,
    trials: &mut [Trial<'_>],
) -> Result<(Vec<Stretch>, Skipped), StoreError> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut skipped = Skipped::default();
    reader.spans(since, |span| -> Result<(), StoreError> {
        skipped.damaged += span.damaged;
        note_stretch(&mut stretches, &span);
        for trial in &mut *trials {
            try_over(trial, &span);
        }
        Ok(())
    })?;
    Ok((stretches, skipped))
}

fn note_stretch(stretches: &mut Vec<Stretch>, span: &Span) {
    let time = |at| Timestamp::from_second(at).unwrap_or(Timestamp::MAX);
    let resolution_seconds = u32::try_from(span.seconds).unwrap_or(u32::MAX);
    let until = time(span.at.saturating_add(span.seconds));
    match stretches.last_mut() {
        Some(last) if last.resolution_seconds == resolution_seconds => last.until = until,
        _ => stretches.push(Stretch {
            since: time(span.at),
            until,
            resolution_seconds,
        }),
    }
}

fn try_over(trial: &mut Trial<'_>, span: &Span) {
    trial.begin(span.at);
    let step = trial.shortest_window().clamp(1, span.seconds.max(1));
    let parts = u64::try_from((span.seconds / step).max(1)).unwrap_or(1);
    let active: Vec<(u32, Kind, &Activity)> = span
        .activity
        .iter()
        .filter_map(|activity| {
            let name = SourceName::parse(&activity.source)?;
            let source = trial.source(&name, activity.package.as_deref());
            Some((source, name.kind, activity))
        })
        .collect();
    let mut heard = span.heard.iter().peekable();
    for part in 0..parts {
        let end = if part + 1 == parts {
            span.at.saturating_add(span.seconds)
        } else {
            let done = i64::try_from(part + 1).unwrap_or(i64::MAX);
            span.at.saturating_add(step.saturating_mul(done))
        };
        for (source, kind, activity) in &active {
            let more = share(&activity.totals, part, parts);
            if more != Totals::default() {
                let known = known(*kind, activity);
                trial.add(*source, activity.class, more, known);
            }
        }
        while let Some((_, heard)) = heard.next_if(|(at, _)| *at < end) {
            if let Some(name) = SourceName::parse(&heard.source) {
                let source = trial.source(&name, None);
                trial.hear(source, heard);
            }
        }
        trial.tick(end);
    }
}

/// What is known of a source by what was kept of it.
fn known(kind: Kind, kept: &Activity) -> Fields {
    let known = Fields::of_kind(kind);
    if kept.knows_plain {
        known
    } else {
        known.without(Counter::Plain)
    }
}

/// One of several parts of what was done, all of which together are all of it.
fn share(all: &Totals, part: u64, parts: u64) -> Totals {
    let of = |all: u64| {
        let until = |part: u64| u128::from(all) * u128::from(part) / u128::from(parts);
        u64::try_from(until(part + 1) - until(part)).unwrap_or(u64::MAX)
    };
    Totals::from_array(all.to_array().map(of))
}
