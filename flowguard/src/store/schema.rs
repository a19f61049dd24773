//! The tables, and how an older database becomes a current one.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;

/// One script per version: number `n` (from 0) leads from version `n` to `n + 1`.
const SCRIPTS: [&str; 4] = [
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
    Ok(make(db, KNOWN)?)
}

/// Brings a database up to a version.
pub(super) fn make(db: &Connection, wanted: i32) -> rusqlite::Result<()> {
    let found = version(db)?;
    for (version, script) in (1..=wanted).zip(SCRIPTS) {
        if version > found {
            db.execute_batch(&format!(
                "BEGIN; {script} PRAGMA user_version = {version}; COMMIT;"
            ))?;
        }
    }
    Ok(())
}
