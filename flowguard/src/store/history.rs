//! What every source did, by the minute and by the hour.

use std::array;

use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params, params_from_iter};

use super::{
    StoreError, checksum,
    replies::{Heard, write_heard},
};
use crate::model::{ClassName, Totals};

/// Seconds of a minute.
pub(super) const MINUTE: i64 = 60;
/// Seconds of an hour.
pub(super) const HOUR: i64 = 3_600;

/// What all sources did within a minute; only those that did something.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Minute {
    /// Its beginning, seconds since 1970; a multiple of 60.
    pub at: i64,
    /// Who did what.
    pub activity: Vec<Activity>,
    /// What mail servers said to whom.
    pub heard: Vec<Heard>,
}

/// What one source did in one class.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    /// `kind:name`, unescaped.
    pub source: String,
    /// The hosting package it has, where that is known.
    pub package: Option<String>,
    /// In which class.
    pub class: ClassName,
    /// Growth of its counters.
    pub totals: Totals,
    /// Whether connections without TLS were counted, which older versions did not.
    pub knows_plain: bool,
}

/// The columns of `minute` and `hour`, in the order in which the tables have them: keys, the counters
/// of the first version in the order of [`Totals::to_array`], the checksum, and what is counted since
/// then.
pub(super) const COLUMNS: &str = "at, source, class, attempts, denied, would_deny, destinations, \
     retransmits, established, refused, timed_out, redirected, bytes, replies_2xx, replies_3xx, \
     replies_4xx, replies_5xx, messages, encrypted, open_ms, checksum, plain";
/// `at`, `source` and `class` come before the counters.
const KEYS: usize = 3;
/// Where the checksum stands, and in [`Numbers`] what older versions did not count.
const PLAIN: usize = KEYS + Totals::COUNT - 1;

/// A row of `minute` or `hour`: keys and counters.
pub(super) type Numbers = [i64; KEYS + Totals::COUNT];

/// Instead of what was not counted when a row was written; null in the database.
const UNKNOWN: i64 = -1;

/// The table of a resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Minute,
    Hour,
}

impl Table {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }
}

/// Counters as a row has them. What no database column can hold is cut off.
pub(super) fn numbers(at: i64, source: i64, class: ClassName, totals: &Totals) -> Numbers {
    let mut row = nothing(at, source, number_of(class));
    for (column, counter) in row[KEYS..].iter_mut().zip(totals.to_array()) {
        *column = i64::try_from(counter).unwrap_or(i64::MAX);
    }
    row
}

/// A row in which nothing happened.
pub(super) fn nothing(at: i64, source: i64, class: i64) -> Numbers {
    let mut row = [0; KEYS + Totals::COUNT];
    row[..KEYS].copy_from_slice(&[at, source, class]);
    row
}

/// Adds the counters of a row to those of another. What one of them does not know, the sum does not.
pub(super) fn add_up(sum: &mut Numbers, more: &Numbers) {
    for (sum, more) in sum.iter_mut().zip(more).skip(KEYS) {
        *sum = if *sum == UNKNOWN || *more == UNKNOWN {
            UNKNOWN
        } else {
            sum.saturating_add(*more)
        };
    }
}

/// Whether a row tells of connections without TLS.
pub(super) const fn knows_plain(row: &Numbers) -> bool {
    row[PLAIN] != UNKNOWN
}

/// The counters of a row.
pub(super) fn totals(row: &Numbers) -> Totals {
    Totals::from_array(array::from_fn(|index| {
        u64::try_from(row[KEYS + index]).unwrap_or(0)
    }))
}

/// The number that stands for a class, the kernel's.
pub(super) fn number_of(class: ClassName) -> i64 {
    flowguard_common::class::Class::from(class) as i64
}

/// The class that a number stands for.
pub(super) fn class_of(number: i64) -> Option<ClassName> {
    let number = u8::try_from(number).ok()?;
    flowguard_common::class::Class::from_u8(number).map(Into::into)
}

/// A row of [`COLUMNS`]; none: it is damaged.
pub(super) fn read(row: &Row<'_>) -> Option<Numbers> {
    read_behind(row, 0)
}

/// The same behind some other columns. The last one may be missing, as it is in older databases.
pub(super) fn read_behind(row: &Row<'_>, others: usize) -> Option<Numbers> {
    let mut numbers = [UNKNOWN; KEYS + Totals::COUNT];
    for (index, number) in numbers[..PLAIN].iter_mut().enumerate() {
        *number = row.get(others + index).ok()?;
    }
    let sum: i64 = row.get(others + PLAIN).ok()?;
    if row.as_ref().column_count() > others + PLAIN + 1
        && let Some(plain) = row.get(others + PLAIN + 1).ok()?
    {
        numbers[PLAIN] = plain;
    }
    (row_checksum(&numbers) == sum).then_some(numbers)
}

/// Of a row. What is not known is not in it, so that older rows keep theirs.
fn row_checksum(row: &Numbers) -> i64 {
    let known = if knows_plain(row) {
        &row[..]
    } else {
        &row[..PLAIN]
    };
    checksum::numbers(known)
}

/// Adds what was done within a minute to what is known of it.
pub(super) fn write_minute(db: &Connection, minute: &Minute) -> Result<(), StoreError> {
    for Activity {
        source,
        package,
        class,
        totals,
        knows_plain,
    } in &minute.activity
    {
        let source = source_id(db, source, package.as_deref())?;
        let mut row = numbers(minute.at, source, *class, totals);
        if !knows_plain {
            row[PLAIN] = UNKNOWN;
        }
        add(db, Table::Minute, &row)?;
    }
    for heard in &minute.heard {
        write_heard(db, minute.at, heard)?;
    }
    Ok(())
}

/// Adds a row to the one of its keys, if there is one.
pub(super) fn add(db: &Connection, table: Table, row: &Numbers) -> Result<(), StoreError> {
    let name = table.name();
    let known = db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM {name} WHERE at = ?1 AND source = ?2 AND class = ?3"
        ))?
        .query_row(params![row[0], row[1], row[2]], |row| Ok(read(row)))
        .optional()?
        .flatten();
    let mut sum = *row;
    if let Some(known) = known {
        add_up(&mut sum, &known);
    }
    replace(db, table, &sum)
}

/// Writes a row in the place of the one of its keys.
pub(super) fn replace(db: &Connection, table: Table, row: &Numbers) -> Result<(), StoreError> {
    write(db, table, "REPLACE", row)
}

/// Writes a row unless there is one of its keys.
pub(super) fn add_older(db: &Connection, table: Table, row: &Numbers) -> Result<(), StoreError> {
    write(db, table, "IGNORE", row)
}

fn write(db: &Connection, table: Table, or: &str, row: &Numbers) -> Result<(), StoreError> {
    let places = ", ?".repeat(row.len());
    let insert = format!(
        "INSERT OR {or} INTO {} ({COLUMNS}) VALUES (?{places})",
        table.name()
    );
    let plain = knows_plain(row).then_some(row[PLAIN]);
    let old = row[..PLAIN].iter().copied().chain([row_checksum(row)]);
    db.prepare_cached(&insert)?
        .execute(params_from_iter(old.map(Some).chain([plain])))?;
    Ok(())
}

/// The number of a source, given if it has none; notes its package.
pub(super) fn source_id(
    db: &Connection,
    name: &str,
    package: Option<&str>,
) -> Result<i64, StoreError> {
    let known: Option<(i64, Option<String>)> = db
        .prepare_cached("SELECT id, package FROM source WHERE name = ?1")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match known {
        Some((id, known)) => {
            if package.is_some() && known.as_deref() != package {
                db.prepare_cached("UPDATE source SET package = ?2 WHERE id = ?1")?
                    .execute(params![id, package])?;
            }
            Ok(id)
        }
        None => insert(
            db,
            "INSERT INTO source (name, package, checksum) VALUES (?1, ?2, ?3)",
            params![name, package, checksum::text(name)],
        ),
    }
}

pub(super) fn text_id(db: &Connection, text: &str) -> Result<i64, StoreError> {
    let known = db
        .prepare_cached("SELECT id FROM text WHERE text = ?1")?
        .query_row([text], |row| row.get(0))
        .optional()?;
    match known {
        Some(id) => Ok(id),
        None => insert(
            db,
            "INSERT INTO text (text, checksum) VALUES (?1, ?2)",
            params![text, checksum::text(text)],
        ),
    }
}

fn insert(db: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<i64, StoreError> {
    Ok(db.prepare_cached(sql)?.insert(values)?)
}

/// The multiple of `unit` that is not after `at`.
pub(super) const fn floor(at: i64, unit: i64) -> i64 {
    at.saturating_sub(at.rem_euclid(unit))
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn counters_are_read_as_they_were_written() {
        let mut totals = testing::totals(u64::MAX);
        totals.replies.never = 7;
        totals.open_ms = 9;
        let read = super::totals(&numbers(60, 1, ClassName::Relay, &totals));
        assert_eq!(read.attempts, i64::MAX as u64);
        assert_eq!((read.replies.never, read.open_ms), (7, 9));
        assert_eq!(
            class_of(number_of(ClassName::Relay)),
            Some(ClassName::Relay)
        );
    }
}
