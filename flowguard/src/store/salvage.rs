//! What can still be read of a damaged database is carried over into the one that was begun in its
//! place: records of verdicts, then orders.
//!
//! It is done in small steps between other work. Everything keeps its number: those that are given
//! in the new database are higher (`Store::note_aside`), and what is there already is newer.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, params};

use super::{Store, StoreError, audit, database::companion, scan::Scan, schema, verdicts};
use crate::control::api::{AuditEntry, Ended, VerdictRecord};

/// How long it may work on one file in all, waiting not counted. What is left then is not carried
/// over.
const WORK: Duration = Duration::from_secs(600);

/// The first schema that has all tables that are read.
const OLDEST: i32 = 2;

/// One file that was set aside.
#[derive(Debug)]
pub(super) struct Salvage {
    path: PathBuf,
    /// None: it cannot even be opened.
    db: Option<Connection>,
    stage: Stage,
    scan: Scan,
    worked: Duration,
    records: Carried,
    orders: Carried,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Records,
    Orders,
    Done,
}

/// What became of the rows of a table.
#[derive(Clone, Copy, Debug, Default)]
struct Carried {
    rows: u64,
    /// None: nobody knows.
    lost: Option<u64>,
}

impl Salvage {
    pub(super) fn of(path: PathBuf) -> Self {
        let db = open(&path)
            .inspect_err(|error| {
                let path = path.display();
                tracing::error!(%path, %error, "nothing can be read of the damaged database");
            })
            .ok();
        let stage = if db.is_some() {
            Stage::Records
        } else {
            Stage::Done
        };
        Self {
            path,
            db,
            stage,
            scan: Scan::default(),
            worked: Duration::ZERO,
            records: Carried::default(),
            orders: Carried::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether all records of verdicts are through.
    pub(super) fn has_records(&self) -> bool {
        self.stage != Stage::Records
    }

    /// Carries some rows over; false: there is no more. Records of verdicts that had not ended are
    /// closed unless `stay_open`.
    ///
    /// # Errors
    ///
    /// What was read cannot be written, or something has the file locked: the same is done the next
    /// time.
    pub(super) fn step(&mut self, store: &mut Store, stay_open: bool) -> Result<bool, StoreError> {
        let begun = Instant::now();
        let before = self.scan;
        let done = self.carry(store, stay_open);
        if done.is_err() {
            self.scan = before;
        }
        self.worked += begun.elapsed();
        if self.worked > WORK {
            self.stage = Stage::Done;
        }
        done.map(|()| self.stage != Stage::Done)
    }

    fn carry(&mut self, store: &mut Store, stay_open: bool) -> Result<(), StoreError> {
        let Some(db) = &self.db else {
            return Ok(());
        };
        match self.stage {
            Stage::Records => match self.scan.batch(db, &verdicts::SALVAGE)? {
                Some(records) => self.records.rows += put_records(store, records, stay_open)?,
                None => {
                    self.records.lost = self.scan.lost(db, &verdicts::SALVAGE);
                    (self.stage, self.scan) = (Stage::Orders, Scan::default());
                }
            },
            Stage::Orders => match self.scan.batch(db, &audit::SALVAGE)? {
                Some(orders) => self.orders.rows += put_orders(store, &orders)?,
                None => {
                    self.orders.lost = self.scan.lost(db, &audit::SALVAGE);
                    self.stage = Stage::Done;
                }
            },
            Stage::Done => {}
        }
        Ok(())
    }

    /// What became of the file, for operators.
    pub(super) fn told(&self) -> String {
        let (records, orders) = (self.records, self.orders);
        let lost = records.lost.zip(orders.lost);
        let lost = match lost.map(|(records, orders)| records.saturating_add(orders)) {
            Some(0) => "none of them was lost".to_owned(),
            Some(lost) => format!("{lost} could not be read and are lost"),
            None => "more could not be read, nobody knows how many".to_owned(),
        };
        format!(
            "the database was damaged: it is kept as {}, and a new one was begun. {} records of \
             verdicts and {} orders were carried over; {lost}. What sources did by the minute and by \
             the hour before is not in the new one",
            self.path.display(),
            records.rows,
            orders.rows,
        )
    }
}

impl Drop for Salvage {
    fn drop(&mut self) {
        self.db = None;
        // The file and its log stay as they were found; this was made to read them.
        fs::remove_file(companion(&self.path, "-shm")).ok();
    }
}

/// Files in the database's folder from which not all is carried over yet.
pub(super) fn noted(db: &Connection, path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut query = db.prepare("SELECT name FROM aside ORDER BY name")?;
    let names = query.query_map([], |row| row.get::<_, String>(0))?;
    let files = names.map(|name| Ok(path.with_file_name(name?)));
    files.collect()
}

/// Notes such a file.
pub(super) fn note(db: &mut Connection, aside: &Path) -> Result<(), StoreError> {
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
pub(super) fn forget(db: &Connection, aside: &Path) -> Result<(), StoreError> {
    db.execute("DELETE FROM aside WHERE name = ?1", [name(aside)])?;
    Ok(())
}

fn name(aside: &Path) -> String {
    let name = aside.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn open(path: &Path) -> Result<Connection, StoreError> {
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

fn put_records(
    store: &mut Store,
    mut records: Vec<VerdictRecord>,
    stay_open: bool,
) -> Result<u64, StoreError> {
    if !stay_open {
        let end = Ended {
            at: Timestamp::now(),
            by: "damage".to_owned(),
        };
        for record in &mut records {
            record.ended.get_or_insert_with(|| end.clone());
        }
    }
    store.attempt(|db| {
        let change = db.transaction()?;
        let mut put = 0;
        for record in &records {
            put += u64::from(verdicts::put_older(&change, record)?);
        }
        change.commit()?;
        Ok(put)
    })
}

fn put_orders(store: &mut Store, orders: &[AuditEntry]) -> Result<u64, StoreError> {
    store.attempt(|db| {
        let change = db.transaction()?;
        let mut put = 0;
        for order in orders {
            put += u64::from(audit::put_older(&change, order)?);
        }
        change.commit()?;
        Ok(put)
    })
}

#[cfg(test)]
mod tests;
