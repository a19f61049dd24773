//! Fixed input for the tests of the store.

use jiff::Timestamp;

use super::{Activity, Minute};
use crate::{
    control::api::{ActionName, AuditEntry, VerdictRecord},
    model::{ClassName, Mode, Totals},
};

/// A block of class direct, since 1970.
pub(super) fn record(number: u64, source: &str) -> VerdictRecord {
    VerdictRecord {
        record: number,
        source: source.to_owned(),
        class: ClassName::Direct,
        action: ActionName::Block,
        rule: Some("direct-fanout".to_owned()),
        by: "policy".to_owned(),
        reason: None,
        limit: None,
        mode: Mode::Enforce,
        since: Timestamp::UNIX_EPOCH,
        until: None,
        ended: None,
        observations: Vec::new(),
        step: None,
        likelihood: None,
        events: Vec::new(),
        replies: Vec::new(),
    }
}

/// So many attempts and nothing else.
pub(super) fn totals(attempts: u64) -> Totals {
    Totals {
        attempts,
        ..Totals::default()
    }
}

/// A minute in which sources made attempts of class direct.
pub(super) fn minute(at: i64, attempts: &[(&str, u64)]) -> Minute {
    let activity = attempts.iter().map(|(source, attempts)| Activity {
        source: (*source).to_owned(),
        package: None,
        class: ClassName::Direct,
        totals: totals(*attempts),
        knows_plain: true,
    });
    Minute {
        at,
        activity: activity.collect(),
        heard: Vec::new(),
    }
}

/// An operator's order that was carried out.
pub(super) fn order(source: &str) -> AuditEntry {
    AuditEntry {
        entry: 0,
        at: Timestamp::UNIX_EPOCH,
        by: "uid:0".to_owned(),
        what: "block".to_owned(),
        source: Some(source.to_owned()),
        detail: None,
        reason: Some("ticket 4711".to_owned()),
        error: None,
    }
}
