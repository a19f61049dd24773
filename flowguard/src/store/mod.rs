//! What must survive the daemon and does not live in the kernel: why each verdict was made.
//!
//! Counters and verdicts themselves are in the pinned maps. Losing this database loses
//! explanations, never protection, so the daemon goes on without it.

mod schema;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::control::api::{Ended, VerdictRecord};

/// How long to wait for another process that has the database locked.
const BUSY_TIMEOUT: Duration = Duration::from_millis(100);

/// What went wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its folder cannot be made.
    #[error("cannot create the folder of {}", path.display())]
    Folder {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is damaged and cannot be set aside.
    #[error("cannot move the damaged database {} out of the way", path.display())]
    SetAside {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A newer flowguard wrote it.
    #[error("{} was written by a newer flowguard (schema {found}, this one knows {known})", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// SQLite failed.
    #[error("the database failed")]
    Database(#[from] rusqlite::Error),
    /// A record is not there.
    #[error("there is no record {record} in the database")]
    Missing {
        /// Its number.
        record: u64,
    },
    /// A record in it is no record.
    #[error("record {record} in the database is damaged")]
    Record {
        /// Its number.
        record: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// How a database was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// As it was, or new.
    Normally,
    /// The old one was damaged and is kept under this name.
    Afresh(PathBuf),
}

/// The database.
#[derive(Debug)]
pub struct Store {
    db: Connection,
}

impl Store {
    /// Opens the database, making it if there is none. A damaged one is set aside under another
    /// name and a new one made.
    ///
    /// # Errors
    ///
    /// It cannot be made, or a newer flowguard wrote it.
    pub fn open(path: &Path) -> Result<(Self, Opened), StoreError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|source| StoreError::Folder {
                path: path.to_owned(),
                source,
            })?;
        }
        match Self::try_open(path) {
            Ok(store) => Ok((store, Opened::Normally)),
            Err(StoreError::Database(error)) if is_damage(&error) => {
                let aside = set_aside(path).map_err(|source| StoreError::SetAside {
                    path: path.to_owned(),
                    source,
                })?;
                Ok((Self::try_open(path)?, Opened::Afresh(aside)))
            }
            Err(error) => Err(error),
        }
    }

    /// A database that ends with the process: for a host whose disk will not have one.
    ///
    /// # Errors
    ///
    /// SQLite is out of memory.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::prepare(Connection::open_in_memory()?, Path::new(":memory:"))
    }

    fn try_open(path: &Path) -> Result<Self, StoreError> {
        Self::prepare(Connection::open(path)?, path)
    }

    fn prepare(db: Connection, path: &Path) -> Result<Self, StoreError> {
        // Written from the daemon's one task, which must not wait for somebody else's lock.
        db.busy_timeout(BUSY_TIMEOUT)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        schema::bring_up(&db, path)?;
        Ok(Self { db })
    }

    /// Adds a record and gives it its number.
    ///
    /// # Errors
    ///
    /// The disk is full, or the database fails otherwise; the record then has no number.
    pub fn add(&mut self, record: &mut VerdictRecord) -> Result<(), StoreError> {
        let change = self.db.transaction()?;
        change.execute(
            "INSERT INTO verdict (source, since, body) VALUES (?1, ?2, '')",
            params![record.source, record.since.as_second()],
        )?;
        let number = u64::try_from(change.last_insert_rowid()).unwrap_or(0);
        let numbered = VerdictRecord {
            record: number,
            ..record.clone()
        };
        write(&change, &numbered)?;
        change.commit()?;
        record.record = number;
        Ok(())
    }

    /// Replaces a record by a newer state of it.
    ///
    /// # Errors
    ///
    /// As for [`Self::add`]; the old state stays.
    pub fn update(&mut self, record: &VerdictRecord) -> Result<(), StoreError> {
        write(&self.db, record)
    }

    /// A record by its number.
    ///
    /// # Errors
    ///
    /// The database fails, or the record is damaged.
    pub fn get(&self, record: u64) -> Result<Option<VerdictRecord>, StoreError> {
        let body: Option<String> = self
            .db
            .query_row(
                "SELECT body FROM verdict WHERE record = ?1",
                params![i64::try_from(record).unwrap_or(0)],
                |row| row.get(0),
            )
            .optional()?;
        body.map(|body| read(record, &body)).transpose()
    }

    /// Records of verdicts that should be in force at this time, oldest first. Damaged ones are
    /// left out.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn open_at(&self, now: Timestamp) -> Result<Vec<VerdictRecord>, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT record, body FROM verdict
             WHERE open AND (until IS NULL OR until > ?1) ORDER BY record",
        )?;
        let rows = query.query_map(params![now.as_second()], record_and_body)?;
        readable(rows)
    }

    /// Records of verdicts that were made since then, oldest first. Damaged ones are left out.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn made_since(&self, since: Timestamp) -> Result<Vec<VerdictRecord>, StoreError> {
        let mut query = self
            .db
            .prepare_cached("SELECT record, body FROM verdict WHERE since >= ?1 ORDER BY record")?;
        let rows = query.query_map(params![since.as_second()], record_and_body)?;
        readable(rows)
    }

    /// Notes on all open records that their verdicts ended.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn end_all(&mut self, end: &Ended) -> Result<(), StoreError> {
        for mut record in self.open_at(end.at)? {
            record.ended = Some(end.clone());
            self.update(&record)?;
        }
        Ok(())
    }

    /// The last records of a source, newest first. Damaged ones are left out.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn of_source(&self, source: &str, most: u32) -> Result<Vec<VerdictRecord>, StoreError> {
        let mut query = self.db.prepare_cached(
            "SELECT record, body FROM verdict WHERE source = ?1 ORDER BY record DESC LIMIT ?2",
        )?;
        let rows = query.query_map(params![source, most], record_and_body)?;
        readable(rows)
    }
}

fn record_and_body(row: &Row<'_>) -> rusqlite::Result<(i64, String)> {
    Ok((row.get(0)?, row.get(1)?))
}

fn readable(
    rows: impl Iterator<Item = rusqlite::Result<(i64, String)>>,
) -> Result<Vec<VerdictRecord>, StoreError> {
    let mut records = Vec::new();
    for row in rows {
        let (record, body) = row?;
        match read(u64::try_from(record).unwrap_or(0), &body) {
            Ok(record) => records.push(record),
            Err(error) => tracing::error!(%error, "leaving a record out"),
        }
    }
    Ok(records)
}

fn write(db: &Connection, record: &VerdictRecord) -> Result<(), StoreError> {
    let body = serde_json::to_string(record).map_err(|source| StoreError::Record {
        record: record.record,
        source,
    })?;
    let changed = db.execute(
        "UPDATE verdict SET body = ?2, until = ?3, open = ?4 WHERE record = ?1",
        params![
            i64::try_from(record.record).unwrap_or(0),
            body,
            record.until.map(|until| until.as_second()),
            record.ended.is_none(),
        ],
    )?;
    if changed == 0 {
        return Err(StoreError::Missing {
            record: record.record,
        });
    }
    Ok(())
}

fn read(record: u64, body: &str) -> Result<VerdictRecord, StoreError> {
    serde_json::from_str(body).map_err(|source| StoreError::Record { record, source })
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
    )
}

/// Renames the database and its companions; the first free of `NAME.damaged-1`, `-2`, ….
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = (1..)
        .map(|n: u64| with(&format!(".damaged-{n}")))
        .find(|candidate| !candidate.exists())
        .ok_or(io::ErrorKind::AlreadyExists)?;
    fs::rename(path, &aside)?;
    for companion in ["-wal", "-shm"] {
        match fs::remove_file(with(companion)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::api::ActionName,
        model::{ClassName, Mode},
    };

    fn record(source: &str) -> VerdictRecord {
        VerdictRecord {
            record: 0,
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

    #[test]
    fn records_survive_and_hostile_names_stay_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/state.db");
        let name = "container:'; DROP TABLE verdict; --\u{1b}[31m";
        let mut first = record(name);
        {
            let (mut store, opened) = Store::open(&path).unwrap();
            assert_eq!(opened, Opened::Normally);
            store.add(&mut first).unwrap();
            store.add(&mut record("user:bob")).unwrap();
            first.reason = Some("later".to_owned());
            store.update(&first).unwrap();
        }
        let (store, _) = Store::open(&path).unwrap();
        assert_eq!(store.get(first.record).unwrap().as_ref(), Some(&first));
        assert_eq!(store.of_source(name, 10).unwrap(), vec![first]);
        assert_eq!(store.get(99).unwrap(), None);
    }

    #[test]
    fn what_should_be_in_force_is_found() {
        let mut store = Store::in_memory().unwrap();
        let now = Timestamp::from_second(1000).unwrap();
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let mut add = |source: &str, until| {
            let mut new = VerdictRecord {
                until,
                ..record(source)
            };
            store.add(&mut new).unwrap();
            new
        };
        let (forever, later) = (add("user:a", None), add("user:b", at(1001)));
        add("user:c", at(1000));
        let mut lifted = add("user:d", None);
        let end = Ended {
            at: now,
            by: "uid:0".to_owned(),
        };
        lifted.ended = Some(end.clone());
        store.update(&lifted).unwrap();
        assert_eq!(store.open_at(now).unwrap(), [forever, later]);
        store.end_all(&end).unwrap();
        assert_eq!(store.open_at(now).unwrap(), []);
    }

    #[test]
    fn a_damaged_database_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        fs::write(
            &path,
            b"this is no database, and long enough to be told apart from an empty one",
        )
        .unwrap();
        let (mut store, opened) = Store::open(&path).unwrap();
        assert_eq!(
            opened,
            Opened::Afresh(folder.path().join("state.db.damaged-1"))
        );
        store.add(&mut record("user:bob")).unwrap();
    }

    #[test]
    fn a_newer_database_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        assert!(matches!(
            Store::open(&path),
            Err(StoreError::Newer { found: 99, .. })
        ));
        assert!(path.exists());
    }
}
