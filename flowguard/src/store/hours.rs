//! Hours are added up from their minutes once they are over, so that both always agree.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::{
    StoreError,
    history::{self, COLUMNS, HOUR, Numbers, Table, floor, read, replace},
};

/// Adds up the hours that are over by `now` and are not in `hour` yet, and those before that got a
/// minute late, from `late` on.
pub(super) fn roll_up(db: &Connection, now: i64, late: Option<i64>) -> Result<bool, StoreError> {
    let last: Option<i64> = db.query_row("SELECT max(at) FROM hour", [], |row| row.get(0))?;
    let mut from = last.map_or(i64::MIN, |last| last.saturating_add(HOUR));
    if let Some(late) = late {
        from = from.min(floor(late, HOUR));
    }
    add_up(db, from, floor(now, HOUR))
}

/// Adds up the hours from one moment to another; whether there was any.
pub(super) fn add_up(db: &Connection, mut from: i64, end: i64) -> Result<bool, StoreError> {
    let mut rolled = false;
    loop {
        let next: Option<i64> = db
            .prepare_cached("SELECT min(at) FROM minute WHERE at >= ?1")?
            .query_row([from], |row| row.get(0))?;
        let Some(hour) = next
            .map(|next| floor(next, HOUR))
            .filter(|hour| *hour < end)
        else {
            return Ok(rolled);
        };
        roll_hour(db, hour)?;
        rolled = true;
        from = hour.saturating_add(HOUR);
    }
}

fn roll_hour(db: &Connection, hour: i64) -> Result<(), StoreError> {
    let mut sums = BTreeMap::<(i64, i64), Numbers>::new();
    let mut query = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM minute WHERE at >= ?1 AND at < ?2"
    ))?;
    let mut rows = query.query([hour, hour.saturating_add(HOUR)])?;
    while let Some(row) = rows.next()? {
        let Some(minute) = read(row) else {
            continue;
        };
        let [_, source, class, ..] = minute;
        let sum = sums
            .entry((source, class))
            .or_insert_with(|| history::nothing(hour, source, class));
        history::add_up(sum, &minute);
    }
    for row in sums.values() {
        replace(db, Table::Hour, row)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Store, history::write_minute, testing},
        *,
    };

    #[test]
    fn a_minute_that_comes_twice_is_added_up_and_hours_are_the_sum_of_minutes() {
        let mut store = Store::in_memory().unwrap();
        let minutes = [(7_200, 3), (7_200, 4), (7_260, 5), (10_800, 100)];
        for (at, attempts) in minutes {
            let minute = testing::minute(at, &[("user:'\0\u{1b}", attempts)]);
            store.attempt(|db| write_minute(db, &minute)).unwrap();
        }
        assert!(store.attempt(|db| roll_up(db, 10_860, None)).unwrap());
        assert!(!store.attempt(|db| roll_up(db, 10_860, None)).unwrap());
        let attempts = |table: &str| -> Vec<(i64, i64)> {
            let sql = format!("SELECT at, attempts FROM {table} ORDER BY at");
            let mut query = store.db.prepare(&sql).unwrap();
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
            rows.unwrap().map(Result::unwrap).collect()
        };
        assert_eq!(attempts("minute"), [(7_200, 7), (7_260, 5), (10_800, 100)]);
        assert_eq!(attempts("hour"), [(7_200, 12)]);
    }

    #[test]
    fn a_late_minute_reaches_its_hour() {
        let mut store = Store::in_memory().unwrap();
        for (at, late) in [(7_200, None), (7_260, Some(7_260))] {
            let minute = testing::minute(at, &[("user:a", 2)]);
            store.attempt(|db| write_minute(db, &minute)).unwrap();
            store.attempt(|db| roll_up(db, 14_400, late)).unwrap();
        }
        let sum: i64 = store
            .db
            .query_row("SELECT attempts FROM hour", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sum, 4);
    }
}
