//! Fixed input for the tests of what is shown.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};

use super::view::View;
use crate::{
    control::api,
    model::{ClassName, Mode, Totals},
};

/// Seconds from the moment the tests take for now: 2025-06-15 15:06:40 UTC.
pub(super) fn time(offset: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + offset).unwrap()
}

pub(super) fn view() -> View {
    View {
        color: false,
        now: time(0),
        zone: TimeZone::UTC,
    }
}

pub(super) fn totals(attempts: u64, destinations: u64, denied: u64) -> Totals {
    Totals {
        attempts,
        destinations,
        denied,
        ..Totals::default()
    }
}

pub(super) fn source(name: &str, classes: &[(ClassName, Totals)]) -> api::Source {
    api::Source {
        source: format!("user:{name}"),
        kind: "user".to_owned(),
        name: name.to_owned(),
        id: Some(7),
        exempt: None,
        tenant: None,
        classes: BTreeMap::from_iter(classes.iter().copied()),
        last_seen: (!classes.is_empty()).then(|| time(-90)),
        verdict: None,
    }
}

pub(super) fn event(offset: i64, last: u8, comm: Option<&str>) -> api::Event {
    api::Event {
        time: time(offset),
        source: "user:alice".to_owned(),
        class: ClassName::Direct,
        decision: "deny".to_owned(),
        hook: "connect4".to_owned(),
        dst: [192, 0, 2, last].into(),
        dport: 25,
        process: comm.map(|comm| api::Process {
            pid: 4_711,
            uid: 1_001,
            comm: comm.to_owned(),
            details: Default::default(),
        }),
    }
}

pub(super) fn verdict() -> api::VerdictRecord {
    api::VerdictRecord {
        limit: None,
        record: 12,
        source: "user:alice".to_owned(),
        class: ClassName::Direct,
        action: api::ActionName::Block,
        rule: Some("mass-mailing".to_owned()),
        by: "policy".to_owned(),
        reason: None,
        mode: Mode::Enforce,
        since: time(-180),
        until: Some(time(3_420)),
        ended: None,
        observations: vec![
            api::Observation {
                what: "destinations".to_owned(),
                value: 311.0,
                limit: 40.0,
                bound: api::Bound::AtLeast,
                of: None,
                window_seconds: 600,
                before_seconds: 0,
            },
            api::Observation {
                what: "attempts".to_owned(),
                value: 4_120.0,
                limit: 400.0,
                bound: api::Bound::AtLeast,
                of: None,
                window_seconds: 600,
                before_seconds: 0,
            },
        ],
        step: Some(api::StepInfo {
            step: 2,
            of: 3,
            offence: 2,
            sooner: false,
        }),
        likelihood: None,
        events: vec![event(-181, 1, Some("php-fpm")), event(-182, 2, None)],
        replies: Vec::new(),
    }
}
