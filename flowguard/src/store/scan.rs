//! Reading a table of which pages may be unreadable.
//!
//! SQLite ends a query at the first page that it cannot make sense of. What stands behind it is
//! found by beginning again after the last row that was read, one number further each time; where
//! that leads nowhere, with growing steps, and then by halves.

use rusqlite::{Connection, ErrorCode, Row, params_from_iter};

use super::StoreError;

/// Rows that are read at a time.
const ROWS: usize = 256;

/// Beginnings that are tried at a time.
const TRIES: usize = 256;

/// Numbers after an unreadable place that are tried one by one. A page has some dozen rows; when the
/// root of a table is gone, all of it is.
const NEIGHBOURS: u32 = 10_000;

/// A table whose rows have ascending numbers.
#[derive(Debug)]
pub(super) struct Table<T> {
    /// Rows from a number on, by it; the number is the first column. The second parameter is the
    /// width of the scan, where it has one.
    pub(super) rows: &'static str,
    /// How many rows an index of the table has; none: it has no index.
    pub(super) count: Option<&'static str>,
    /// A row; none: it is damaged.
    pub(super) read: fn(&Row<'_>) -> Option<T>,
}

/// How far a table was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    /// What a table with keys of two parts is numbered with: one more than the greatest second
    /// part.
    pub(super) width: Option<i64>,
    /// The number to go on from.
    next: i64,
    /// Beginnings that were tried in vain since the last row.
    failures: u32,
    readable: u64,
    damaged: u64,
    has_holes: bool,
}

/// Why a query ended.
enum End {
    /// There is no more.
    OfTable,
    /// Enough for now.
    OfBatch,
    /// It leads nowhere: something cannot be read.
    Broken,
}

impl Scan {
    pub(super) fn of(width: Option<i64>) -> Self {
        Self {
            width,
            ..Self::default()
        }
    }

    /// Reads on; none: there is no more.
    ///
    /// # Errors
    ///
    /// Another process has the database locked.
    pub(super) fn batch<T>(
        &mut self,
        db: &Connection,
        table: &Table<T>,
    ) -> Result<Option<Vec<T>>, StoreError> {
        let mut found = Vec::new();
        for _ in 0..TRIES {
            let before = self.next;
            match self.read_on(db, table, &mut found) {
                Ok(End::OfTable) => self.next = i64::MAX,
                Ok(End::OfBatch) => return Ok(Some(found)),
                Err(error) if is_locked(&error) => return Err(error.into()),
                Ok(End::Broken) | Err(_) => {
                    self.has_holes = true;
                    self.step_over(db, table, before)?;
                }
            }
            if self.next == i64::MAX || found.len() >= ROWS {
                break;
            }
        }
        let is_over = self.next == i64::MAX && found.is_empty();
        Ok((!is_over).then_some(found))
    }

    fn read_on<T>(
        &mut self,
        db: &Connection,
        table: &Table<T>,
        found: &mut Vec<T>,
    ) -> rusqlite::Result<End> {
        let before = self.next;
        let mut query = db.prepare_cached(table.rows)?;
        let mut rows = query.query(self.from(before))?;
        let mut last = i64::MIN;
        for count in 0..4 * ROWS {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(End::OfTable),
                Err(error) => {
                    self.pass(last);
                    return Err(error);
                }
            };
            last = row.get(0).unwrap_or(i64::MIN);
            // Rows of one number belong together.
            if count >= ROWS && last >= self.next && self.next > before {
                return Ok(End::OfBatch);
            }
            match (table.read)(row) {
                Some(read) => {
                    self.readable += 1;
                    self.pass(last);
                    found.push(read);
                }
                // Its number may be damaged, too.
                None => self.damaged += 1,
            }
        }
        self.pass(last);
        // Or its pages lead back to themselves.
        Ok(if self.next > before {
            End::OfBatch
        } else {
            End::Broken
        })
    }

    fn pass(&mut self, number: i64) {
        self.next = self.next.max(number.saturating_add(1));
    }

    /// The parameters of a query.
    fn from(&self, number: i64) -> impl rusqlite::Params {
        params_from_iter([number].into_iter().chain(self.width))
    }

    fn step_over<T>(
        &mut self,
        db: &Connection,
        table: &Table<T>,
        before: i64,
    ) -> Result<(), StoreError> {
        if self.next > before {
            self.failures = 0;
        } else if self.failures < NEIGHBOURS {
            self.failures += 1;
            self.next = self.next.saturating_add(1);
        } else {
            self.failures = 0;
            self.next = self.leap(db, table)?;
        }
        Ok(())
    }

    /// The next number from which something can be read.
    fn leap<T>(&self, db: &Connection, table: &Table<T>) -> Result<i64, StoreError> {
        let (mut broken, mut step) = (self.next, 1_i64);
        let mut readable = loop {
            let next = broken.saturating_add(step);
            if next == i64::MAX {
                return Ok(next);
            }
            if self.leads_on(db, table, next)? {
                break next;
            }
            (broken, step) = (next, step.saturating_mul(2));
        };
        while readable - broken > 1 {
            let middle = broken + (readable - broken) / 2;
            if self.leads_on(db, table, middle)? {
                readable = middle;
            } else {
                broken = middle;
            }
        }
        Ok(readable)
    }

    fn leads_on<T>(
        &self,
        db: &Connection,
        table: &Table<T>,
        number: i64,
    ) -> Result<bool, StoreError> {
        let first = db
            .prepare_cached(table.rows)
            .and_then(|mut query| query.exists(self.from(number)));
        match first {
            Err(error) if is_locked(&error) => Err(error.into()),
            read => Ok(read.is_ok()),
        }
    }

    /// How many rows could not be read; none: nobody knows.
    pub(super) fn lost<T>(&self, db: &Connection, table: &Table<T>) -> Option<u64> {
        if !self.has_holes {
            return Some(self.damaged);
        }
        let count: i64 = db.query_row(table.count?, [], |row| row.get(0)).ok()?;
        let lost = u64::try_from(count).ok()?.checked_sub(self.readable)?;
        (lost >= self.damaged).then_some(lost)
    }
}

fn is_locked(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}
