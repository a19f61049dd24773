//! Records of verdicts: why each was made, and how it ended.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{Store, StoreError, checksum, scan::Table};
use crate::control::api::{Ended, VerdictRecord};

/// All records, out of a damaged database.
pub(super) const SALVAGE: Table<VerdictRecord> = Table {
    rows: "SELECT record, body, checksum FROM verdict WHERE record >= ?1 ORDER BY record",
    count: Some("SELECT count(*) FROM verdict INDEXED BY verdict_source"),
    read: |row| Stored::of(row).ok()?.read().ok(),
};

impl Store {
    /// Writes a record under its number, in the place of an older state of it.
    ///
    /// # Errors
    ///
    /// The disk is full, or the database fails otherwise; the old state stays.
    pub fn put(&mut self, record: &VerdictRecord) -> Result<(), StoreError> {
        self.attempt(|db| put(db, record))
    }

    /// The highest number that was given to a record, in an earlier file too; 0: none was.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn last_number(&mut self) -> Result<u64, StoreError> {
        self.attempt(|db| {
            let last: i64 = db.query_row(
                "SELECT max(coalesce((SELECT max(record) FROM verdict), 0),
                    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'verdict'), 0))",
                [],
                |row| row.get(0),
            )?;
            Ok(u64::try_from(last).unwrap_or(0))
        })
    }

    /// A record by its number.
    ///
    /// # Errors
    ///
    /// The database fails, or the record is damaged.
    pub fn get(&mut self, record: u64) -> Result<Option<VerdictRecord>, StoreError> {
        self.attempt(|db| {
            let found = db
                .query_row(
                    "SELECT record, body, checksum FROM verdict WHERE record = ?1",
                    params![i64::try_from(record).unwrap_or(0)],
                    Stored::of,
                )
                .optional()?;
            found.map(|stored| stored.read()).transpose()
        })
    }

    /// Records of verdicts that should be in force at this time, oldest first. Damaged ones are
    /// left out.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn open_at(&mut self, now: Timestamp) -> Result<Vec<VerdictRecord>, StoreError> {
        self.attempt(|db| open_at(db, now))
    }

    /// Records of verdicts that were made since then, oldest first. Damaged ones are left out.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn made_since(&mut self, since: Timestamp) -> Result<Vec<VerdictRecord>, StoreError> {
        self.attempt(|db| {
            let mut query = db.prepare_cached(
                "SELECT record, body, checksum FROM verdict WHERE since >= ?1 ORDER BY record",
            )?;
            readable(query.query_map(params![since.as_second()], Stored::of)?)
        })
    }

    /// Notes on all open records that their verdicts ended.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn end_all(&mut self, end: &Ended) -> Result<(), StoreError> {
        self.change(|db| {
            for mut record in open_at(db, end.at)? {
                record.ended = Some(end.clone());
                put(db, &record)?;
            }
            Ok(())
        })
    }

    /// The last records of a source, newest first. Damaged ones are left out.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn of_source(&mut self, source: &str, most: u32) -> Result<Vec<VerdictRecord>, StoreError> {
        self.attempt(|db| {
            let mut query = db.prepare_cached(
                "SELECT record, body, checksum FROM verdict WHERE source = ?1
                 ORDER BY record DESC LIMIT ?2",
            )?;
            let mut records = readable(query.query_map(params![source, most], Stored::of)?)?;
            records.retain(|record| record.source == source);
            Ok(records)
        })
    }
}

/// Writes a record under its number, in the place of an older state of it.
pub(super) fn put(db: &Connection, record: &VerdictRecord) -> Result<(), StoreError> {
    let body = serde_json::to_string(record).map_err(|source| StoreError::Unwritable {
        record: record.record,
        source,
    })?;
    db.prepare_cached(
        "INSERT INTO verdict (record, source, since, until, open, body, checksum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (record) DO UPDATE SET source = excluded.source, since = excluded.since,
            until = excluded.until, open = excluded.open, body = excluded.body,
            checksum = excluded.checksum",
    )?
    .execute(params![
        i64::try_from(record.record).unwrap_or(0),
        record.source,
        record.since.as_second(),
        record.until.map(|until| until.as_second()),
        record.ended.is_none(),
        body,
        checksum::text(&body),
    ])?;
    Ok(())
}

/// Writes a record out of an earlier file, unless there is a newer state of it.
pub(super) fn put_older(db: &Connection, record: &VerdictRecord) -> Result<(), StoreError> {
    let is_known = db
        .prepare_cached("SELECT 1 FROM verdict WHERE record = ?1")?
        .exists([i64::try_from(record.record).unwrap_or(0)])?;
    if is_known { Ok(()) } else { put(db, record) }
}

fn open_at(db: &Connection, now: Timestamp) -> Result<Vec<VerdictRecord>, StoreError> {
    let mut query = db.prepare_cached(
        "SELECT record, body, checksum FROM verdict
         WHERE open AND (until IS NULL OR until > ?1) ORDER BY record",
    )?;
    let mut records = readable(query.query_map(params![now.as_second()], Stored::of)?)?;
    // The body has a checksum, the columns have none.
    records.retain(|record| {
        record.ended.is_none()
            && record
                .until
                .is_none_or(|until| until.as_second() > now.as_second())
    });
    Ok(records)
}

/// A record as it is stored.
struct Stored {
    record: i64,
    body: String,
    checksum: Option<i64>,
}

impl Stored {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            record: row.get(0)?,
            body: row.get(1)?,
            checksum: row.get(2)?,
        })
    }

    fn read(&self) -> Result<VerdictRecord, StoreError> {
        let fits = self
            .checksum
            .is_none_or(|sum| sum == checksum::text(&self.body));
        let read: Option<VerdictRecord> = fits
            .then(|| serde_json::from_str(&self.body).ok())
            .flatten();
        read.filter(|read| i64::try_from(read.record) == Ok(self.record))
            .ok_or_else(|| StoreError::Row {
                what: format!("record {}", self.record),
            })
    }
}

fn readable(
    rows: impl Iterator<Item = rusqlite::Result<Stored>>,
) -> Result<Vec<VerdictRecord>, StoreError> {
    let mut records = Vec::new();
    for row in rows {
        let read = match row {
            Ok(stored) => stored.read(),
            Err(error) if StoreError::is_bad_row(&error) => Err(error.into()),
            Err(error) => return Err(error.into()),
        };
        match read {
            Ok(record) => records.push(record),
            Err(error) => tracing::error!(%error, "leaving a record out"),
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Opened, testing::record},
        *,
    };

    #[test]
    fn records_survive_and_hostile_names_stay_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/state.db");
        let name = "container:'; DROP TABLE verdict; --\u{1b}[31m\0";
        let mut first = record(1, name);
        {
            let (mut store, opened) = Store::open(&path).unwrap();
            assert_eq!(opened, Opened::Normally);
            store.put(&first).unwrap();
            store.put(&record(2, "user:bob")).unwrap();
            first.reason = Some("later".to_owned());
            store.put(&first).unwrap();
        }
        let (mut store, _) = Store::open(&path).unwrap();
        assert_eq!(store.get(1).unwrap().as_ref(), Some(&first));
        assert_eq!(store.of_source(name, 10).unwrap(), vec![first]);
        assert_eq!(store.get(99).unwrap(), None);
        assert_eq!(store.last_number().unwrap(), 2);
    }

    #[test]
    fn what_should_be_in_force_is_found() {
        let mut store = Store::in_memory().unwrap();
        let now = Timestamp::from_second(1000).unwrap();
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let mut add = |number, source: &str, until| {
            let new = VerdictRecord {
                until,
                ..record(number, source)
            };
            store.put(&new).unwrap();
            new
        };
        let (forever, later) = (add(1, "user:a", None), add(2, "user:b", at(1001)));
        add(3, "user:c", at(1000));
        let mut lifted = add(4, "user:d", None);
        let end = Ended {
            at: now,
            by: "uid:0".to_owned(),
        };
        lifted.ended = Some(end.clone());
        store.put(&lifted).unwrap();
        assert_eq!(store.open_at(now).unwrap(), [forever, later]);
        store.end_all(&end).unwrap();
        assert_eq!(store.open_at(now).unwrap(), []);
    }

    #[test]
    fn a_record_that_is_not_what_was_written_is_left_out() {
        let mut store = Store::in_memory().unwrap();
        store.put(&record(1, "user:a")).unwrap();
        store.put(&record(2, "user:a")).unwrap();
        let change = "UPDATE verdict SET body = replace(body, 'fanout', 'fan0ut') WHERE record = 1";
        assert_eq!(store.db.execute(change, []).unwrap(), 1);
        assert!(matches!(store.get(1), Err(StoreError::Row { .. })));
        assert_eq!(store.of_source("user:a", 9).unwrap(), [record(2, "user:a")]);
    }
}
