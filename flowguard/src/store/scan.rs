//! Reading a table of which pages may be unreadable.
//!
//! SQLite ends a query at the first page that it cannot make sense of. What stands behind it is
//! found by beginning again after the last row that was read, one number further each time.

use rusqlite::{Connection, ErrorCode, Row};

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
    /// Rows from a number on, by it; the number is the first column.
    pub(super) rows: &'static str,
    /// How many rows an index of the table has.
    pub(super) count: &'static str,
    /// A row; none: it is damaged.
    pub(super) read: fn(&Row<'_>) -> Option<T>,
}

/// How far a table was read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
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
                    self.step_over(before);
                }
            }
            if self.next == i64::MAX {
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
        let mut rows = query.query([before])?;
        for _ in 0..ROWS {
            let Some(row) = rows.next()? else {
                return Ok(End::OfTable);
            };
            let number = row.get(0).unwrap_or(i64::MIN);
            let read = (table.read)(row);
            match read {
                Some(_) => self.readable += 1,
                None => self.damaged += 1,
            }
            // Of a row that is damaged, the number may be, too.
            let is_near = number.saturating_sub(self.next) < NEIGHBOURS.into();
            if number >= self.next && (read.is_some() || is_near) {
                self.next = number.saturating_add(1);
            }
            found.extend(read);
        }
        // Pages that lead back to themselves.
        Ok(if self.next > before {
            End::OfBatch
        } else {
            End::Broken
        })
    }

    fn step_over(&mut self, before: i64) {
        if self.next > before {
            self.failures = 0;
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let far = self.failures.saturating_sub(NEIGHBOURS).min(62);
        self.next = self.next.saturating_add(1 << far);
    }

    /// How many rows could not be read; none: nobody knows.
    pub(super) fn lost<T>(&self, db: &Connection, table: &Table<T>) -> Option<u64> {
        if !self.has_holes {
            return Some(self.damaged);
        }
        let count: i64 = db.query_row(table.count, [], |row| row.get(0)).ok()?;
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
