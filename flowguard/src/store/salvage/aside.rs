//! Files that were set aside: which of them there are, and how they are opened.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, params};

use super::super::{StoreError, schema};

/// The first schema that has all tables that are read.
const OLDEST: i32 = 2;

/// Files in the database's folder from which not all is carried over yet.
pub(in crate::store) fn noted(db: &Connection, path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut query = db.prepare("SELECT name FROM aside ORDER BY name")?;
    let names = query.query_map([], |row| row.get::<_, String>(0))?;
    let files = names.map(|name| Ok(path.with_file_name(name?)));
    files.collect()
}

/// Notes such a file.
pub(in crate::store) fn note(db: &mut Connection, aside: &Path) -> Result<(), StoreError> {
    let change = db.transaction()?;
    change.execute(
        "INSERT OR IGNORE INTO aside (name) VALUES (?1)",
        [name(aside)],
    )?;
    for table in ["verdict", "audit"] {
        let now = Timestamp::now().as_millisecond();
        let raise = "UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1";
        if change.execute(raise, params![table, now])? == 0 {
            let begin = "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)";
            change.execute(begin, params![table, now])?;
        }
    }
    Ok(change.commit()?)
}

/// Notes that all that can be read of such a file is carried over.
pub(in crate::store) fn forget(db: &Connection, aside: &Path) -> Result<(), StoreError> {
    db.execute("DELETE FROM aside WHERE name = ?1", [name(aside)])?;
    Ok(())
}

fn name(aside: &Path) -> String {
    let name = aside.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Opens it for reading.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    // Nothing is written; but a file that is shorter than its head says is read all the same.
    db.pragma_update(None, "writable_schema", true)?;
    let found = schema::version(&db)?;
    if found < OLDEST {
        return Err(StoreError::Older {
            path: path.to_owned(),
        });
    }
    Ok(db)
}
