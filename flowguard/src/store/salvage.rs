//! What can still be read of a damaged database is carried over into the one that was begun in its
//! place: records of verdicts, then orders, then what sources did.
//!
//! It is done in small steps between other work. Everything keeps its number: those that are given
//! in the new database are higher (`Store::note_aside`), and what is there already is newer.

mod aside;
mod past;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rusqlite::Connection;

pub(super) use self::aside::{forget, note, noted};
use self::past::{Names, replies};
use super::{
    Store, StoreError, audit,
    database::companion,
    history,
    replies::Reply,
    scan::{Scan, Table},
    verdicts,
};
use crate::control::api::{AuditEntry, Ended, VerdictRecord};

/// How long it may work on one file in all, waiting not counted. What is left then is not carried
/// over.
const WORK: Duration = Duration::from_secs(600);

/// One file that was set aside.
#[derive(Debug)]
pub(super) struct Salvage {
    path: PathBuf,
    /// None: it cannot even be opened.
    db: Option<Connection>,
    /// How it keeps replies.
    replies: &'static Table<Reply>,
    stage: Stage,
    scan: Scan,
    worked: Duration,
    names: Names,
    /// The last minute that was carried over.
    last_minute: Option<i64>,
    records: Carried,
    orders: Carried,
    past: Carried,
}

/// What is read, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Records,
    Orders,
    Sources,
    Texts,
    Hours,
    Minutes,
    Replies,
    /// Hours are added up whose minutes were carried over.
    Sums,
    Done,
}

/// What became of rows.
#[derive(Clone, Copy, Debug, Default)]
struct Carried {
    rows: u64,
    lost: u64,
    /// More are lost; nobody knows how many.
    and_more: bool,
}

impl Carried {
    fn lose(&mut self, lost: Option<u64>) {
        self.lost += lost.unwrap_or(0);
        self.and_more |= lost.is_none();
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lost, self.and_more) {
            (0, false) => f.write_str("none lost"),
            (lost, false) => write!(f, "{lost} lost"),
            (_, true) => f.write_str("nobody knows how many are lost"),
        }
    }
}

impl Salvage {
    pub(super) fn of(path: PathBuf) -> Self {
        let db = aside::open(&path)
            .inspect_err(|error| {
                let path = path.display();
                tracing::error!(%path, %error, "nothing can be read of the damaged database");
            })
            .ok();
        Self {
            path,
            replies: db.as_ref().map_or(&past::REPLIES, replies),
            db,
            stage: Stage::Records,
            scan: Scan::default(),
            worked: Duration::ZERO,
            names: Names::default(),
            last_minute: None,
            records: Carried::default(),
            orders: Carried::default(),
            past: Carried::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether all records of verdicts are through.
    pub(super) fn has_records(&self) -> bool {
        self.stage != Stage::Records
    }

    /// Whether it cannot go on before it is told the time.
    pub(super) fn needs_time(&self) -> bool {
        self.stage == Stage::Sums
    }

    /// Carries some rows over; false: there is no more. Records of verdicts that had not ended are
    /// closed unless `stay_open`.
    ///
    /// # Errors
    ///
    /// What was read cannot be written, or something has the file locked: the same is done the next
    /// time.
    pub(super) fn step(
        &mut self,
        store: &mut Store,
        stay_open: bool,
        now: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let begun = Instant::now();
        let before = self.scan;
        let db = self.db.take();
        let done = match &db {
            Some(db) if self.worked < WORK => self.carry(db, store, stay_open, now),
            _ => {
                self.give_up();
                Ok(())
            }
        };
        self.db = db;
        if done.is_err() {
            self.scan = before;
        }
        self.worked += begun.elapsed();
        done.map(|()| self.stage != Stage::Done)
    }

    /// What was not read by now is lost.
    fn give_up(&mut self) {
        let is_left = |last| (self.stage as u8) <= last as u8;
        let (records, orders) = (is_left(Stage::Records), is_left(Stage::Orders));
        self.past.and_more |= is_left(Stage::Replies);
        self.records.and_more |= records;
        self.orders.and_more |= orders;
        self.stage = Stage::Done;
    }

    fn carry(
        &mut self,
        db: &Connection,
        store: &mut Store,
        stay_open: bool,
        now: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        match self.stage {
            Stage::Records => match self.scan.batch(db, &verdicts::SALVAGE)? {
                Some(records) => self.records.rows += put_records(store, records, stay_open)?,
                None => {
                    self.records.lose(self.scan.lost(db, &verdicts::SALVAGE));
                    self.go_to(Stage::Orders, None);
                }
            },
            Stage::Orders => match self.scan.batch(db, &audit::SALVAGE)? {
                Some(orders) => self.orders.rows += put_orders(store, &orders)?,
                None => {
                    self.orders.lose(self.scan.lost(db, &audit::SALVAGE));
                    self.go_to(Stage::Sources, None);
                }
            },
            Stage::Sources => match self.scan.batch(db, &past::SOURCES)? {
                Some(sources) => self.names.add_sources(sources),
                None => self.go_to(Stage::Texts, None),
            },
            Stage::Texts => match self.scan.batch(db, &past::TEXTS)? {
                Some(texts) => self.names.add_texts(texts),
                None => self.go_to(Stage::Hours, Some(self.names.width())),
            },
            Stage::Hours => match self.scan.batch(db, &past::HOURS)? {
                Some(rows) => {
                    let put = self.names.put(store, history::Table::Hour, &rows)?;
                    self.note_past(rows.len(), put);
                }
                None => {
                    self.past.lose(self.scan.lost(db, &past::HOURS));
                    self.go_to(Stage::Minutes, self.scan.width);
                }
            },
            Stage::Minutes => match self.scan.batch(db, &past::MINUTES)? {
                Some(rows) => {
                    let put = self.names.put(store, history::Table::Minute, &rows)?;
                    self.note_past(rows.len(), put);
                    let last = rows.iter().map(|row| row[0]).max();
                    self.last_minute = self.last_minute.max(last);
                }
                None => {
                    self.past.lose(self.scan.lost(db, &past::MINUTES));
                    self.go_to(Stage::Replies, self.scan.width);
                }
            },
            Stage::Replies => match self.scan.batch(db, self.replies)? {
                Some(replies) => {
                    let put = self.names.put_replies(store, &replies)?;
                    self.note_past(replies.len(), put);
                }
                None => {
                    self.past.lose(self.scan.lost(db, self.replies));
                    self.go_to(Stage::Sums, None);
                }
            },
            Stage::Sums => {
                if let Some((last, now)) = self.last_minute.zip(now) {
                    let added_up = db.query_row("SELECT max(at) FROM hour", [], |row| row.get(0));
                    past::add_up(store, added_up.unwrap_or(None), last, now.as_second())?;
                }
                self.stage = Stage::Done;
            }
            Stage::Done => {}
        }
        Ok(())
    }

    fn go_to(&mut self, stage: Stage, width: Option<i64>) {
        self.stage = stage;
        self.scan = Scan::of(width);
    }

    fn note_past(&mut self, read: usize, put: u64) {
        self.past.rows += put;
        self.past.lost += (read as u64).saturating_sub(put);
    }

    /// What became of the file, for operators.
    pub(super) fn told(&self) -> String {
        let Self {
            records,
            orders,
            past,
            ..
        } = self;
        format!(
            "the database was damaged: it is kept as {}, and a new one was begun. {} records of \
             verdicts ({records}), {} orders ({orders}) and {} rows of history ({past}) were carried \
             over",
            self.path.display(),
            records.rows,
            orders.rows,
            past.rows,
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
    store.change(|db| {
        for record in &records {
            verdicts::put_older(db, record)?;
        }
        Ok(records.len() as u64)
    })
}

fn put_orders(store: &mut Store, orders: &[AuditEntry]) -> Result<u64, StoreError> {
    store.change(|db| {
        for order in orders {
            audit::put_older(db, order)?;
        }
        Ok(orders.len() as u64)
    })
}

#[cfg(test)]
mod past_tests;
#[cfg(test)]
mod tests;
