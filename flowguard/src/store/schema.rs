//! The tables, and how an older database becomes a current one.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use super::StoreError;

/// One script per version: number `n` (from 0) leads from version `n` to `n + 1`.
const SCRIPTS: [&str; 5] = [
    "CREATE TABLE verdict (
        record INTEGER PRIMARY KEY AUTOINCREMENT,
        source TEXT NOT NULL,
        since INTEGER NOT NULL,
        until INTEGER,
        open INTEGER NOT NULL DEFAULT 1,
        body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX verdict_source ON verdict (source, record);
    CREATE INDEX verdict_open ON verdict (record) WHERE open;",
    include_str!("history.sql"),
    // Names of damaged files from which not all is carried over yet.
    "CREATE TABLE aside (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;",
    include_str!("sent_from.sql"),
    // Connections without TLS; null: they were not counted yet.
    "ALTER TABLE minute ADD COLUMN plain INTEGER;
    ALTER TABLE hour ADD COLUMN plain INTEGER;",
];

/// The version of a database that is up to date.
pub(super) const KNOWN: i32 = SCRIPTS.len() as i32;

/// The version of a database; 0: it is empty.
pub(super) fn version(db: &Connection) -> rusqlite::Result<i32> {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings a database up to the current version, each step in a transaction.
pub(super) fn bring_up(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let found = version(db)?;
    if found > KNOWN {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: KNOWN,
        });
    }
    lead(db, found, KNOWN)
}

/// Leads a database from one version to another.
pub(super) fn lead(db: &Connection, from: i32, to: i32) -> Result<(), StoreError> {
    for (next, script) in (1..=to).zip(SCRIPTS) {
        if next > from {
            db.execute_batch(&format!(
                "BEGIN; {script} PRAGMA user_version = {next}; COMMIT;"
            ))
            .map_err(|error| failed(error, version(db), next))?;
        }
    }
    Ok(())
}

/// A new column makes SQLite look through the table, and a value of the wrong type fails the statement as
/// if that were wrong. It is not, unless another process was quicker.
fn failed(error: rusqlite::Error, found: rusqlite::Result<i32>, next: i32) -> StoreError {
    let is_refused = error.sqlite_error_code() == Some(ErrorCode::Unknown);
    if is_refused && found.is_ok_and(|found| found < next) {
        StoreError::Tables(error)
    } else {
        error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Activity, Opened, Reader, Store, checksum,
            history::{HOUR, write_minute},
            hours, testing,
        },
        *,
    };

    const BEGIN: i64 = 2 * HOUR;

    /// A database of the version before connections without TLS were counted, with one source and two
    /// minutes of it.
    fn third(path: &Path) {
        let db = Connection::open(path).unwrap();
        lead(&db, 0, 3).unwrap();
        let name = "user:a";
        db.execute(
            "INSERT INTO source (id, name, checksum) VALUES (1, ?1, ?2)",
            (name, checksum::text(name)),
        )
        .unwrap();
        for minute in 0..2 {
            let mut row = vec![0; 20];
            row[..4].copy_from_slice(&[BEGIN + 60 * minute, 1, 0, 5]);
            row.push(checksum::numbers(&row));
            let places = vec!["?"; row.len()].join(", ");
            db.execute(
                &format!("INSERT INTO minute VALUES ({places})"),
                rusqlite::params_from_iter(row),
            )
            .unwrap();
        }
    }

    /// All that is read, without names.
    fn read(path: &Path) -> Vec<(i64, u64, u64, bool)> {
        let mut found = Vec::new();
        let reader = Reader::open(path).unwrap();
        let take = |span: super::super::Span| {
            assert_eq!(span.damaged, 0);
            let row =
                |of: &Activity| (span.at, of.totals.attempts, of.totals.plain, of.knows_plain);
            found.extend(span.activity.iter().map(row));
            Ok::<_, StoreError>(())
        };
        reader.spans(i64::MIN, take).unwrap();
        found
    }

    fn minute(at: i64) -> super::super::Minute {
        let mut minute = testing::minute(at, &[("user:a", 1)]);
        minute.activity[0].totals.plain = 1;
        minute
    }

    #[test]
    fn what_an_older_version_did_not_count_stays_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        third(&path);
        let (mut store, opened) = Store::open(&path).unwrap();
        assert_eq!(opened, Opened::Normally);
        // The minute in which it was replaced, and one after it.
        for at in [BEGIN + 60, BEGIN + HOUR] {
            store.attempt(|db| write_minute(db, &minute(at))).unwrap();
        }
        let minutes = [
            (BEGIN, 5, 0, false),
            (BEGIN + 60, 6, 0, false),
            (BEGIN + HOUR, 1, 1, true),
        ];
        assert_eq!(read(&path), minutes);
        let add_up = |db: &mut Connection| hours::roll_up(db, BEGIN + 2 * HOUR, None);
        assert!(store.attempt(add_up).unwrap());
        store.db.execute("DELETE FROM minute", []).unwrap();
        assert_eq!(
            read(&path),
            [(BEGIN, 11, 0, false), (BEGIN + HOUR, 1, 1, true)]
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_damage_and_nothing_else_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        third(&path);
        // As a flipped bit would do it: SQLite itself lets nobody write it.
        for change in [
            "UPDATE sqlite_schema SET sql = replace(sql, 'STRICT, ', '') WHERE name = 'minute'",
            "UPDATE minute SET bytes = 'x' WHERE at = 7200",
            "UPDATE sqlite_schema SET sql = replace(sql, 'WITHOUT', 'STRICT, WITHOUT')
             WHERE name = 'minute'",
        ] {
            let db = Connection::open(&path).unwrap();
            db.pragma_update(None, "writable_schema", true).unwrap();
            db.execute(change, []).unwrap();
        }
        let (mut store, opened) = Store::open(&path).unwrap();
        let aside = folder.path().join("state.db.damaged-1");
        assert_eq!(opened, Opened::Afresh(aside.clone()));
        let mut file = super::super::salvage::Salvage::of(aside);
        while file.step(&mut store, true, None).unwrap() {}
        let told = file.told();
        assert!(told.contains("1 rows of history (1 lost)"), "{told}");
        drop(store);
        assert_eq!(read(&path), [(BEGIN + 60, 5, 0, false)]);
    }
}
