//! Fixed input for the tests of the store.

use std::{ops::Range, path::Path};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{Activity, Minute, checksum, schema};
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

/// Makes a database as it was before the addresses were kept that servers see: a reply in each of
/// these minutes.
pub(super) fn without_addresses(path: &Path, minutes: Range<i64>) {
    let db = Connection::open(path).unwrap();
    schema::lead(&db, 0, 3).unwrap();
    let change = db.unchecked_transaction().unwrap();
    for (table, column, named) in [("source", "name", "user:a"), ("text", "text", "550 no")] {
        let insert = format!("INSERT INTO {table} (id, {column}, checksum) VALUES (1, ?1, ?2)");
        let values = params![named, checksum::text(named)];
        change.execute(&insert, values).unwrap();
    }
    for minute in minutes {
        let (at, server) = (60 * minute, "192.0.2.1");
        let sum = checksum::numbers(&[at, 1, 0, 1, 2, checksum::text(server)]);
        let insert = "INSERT INTO reply (at, source, class, text, server, count, checksum)
            VALUES (?1, 1, 0, 1, ?2, 2, ?3)";
        change.execute(insert, params![at, server, sum]).unwrap();
    }
    change.commit().unwrap();
}
