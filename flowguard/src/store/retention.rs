//! How long things are kept, and how much.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::Connection;

use super::{
    Store, StoreError,
    history::{HOUR, Table, floor},
    hours,
};

/// `[history]` of the configuration: how long what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Of what sources did, by the minute.
    pub minutes: Duration,
    /// The same by the hour, and replies.
    pub hours: Duration,
    /// Of records of verdicts that are over, and of orders.
    pub records: Duration,
    /// The size of the database beyond which the oldest goes first.
    pub max_bytes: u64,
}

/// Something was deleted before its time, for the size of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortened {
    /// How far back minutes reach now; none: there are none.
    pub minutes_since: Option<Timestamp>,
    /// How far back hours reach now; none: there are none.
    pub hours_since: Option<Timestamp>,
}

/// Moments (of minutes and hours) that are cleared away at a time, so that other writes get
/// their turn.
const MOMENTS_AT_ONCE: usize = 240;

/// Records and orders that are cleared away at a time.
const RECORDS_AT_ONCE: i64 = 500;

/// Minutes that the size bound leaves alone as long as there is something else, seconds: hours are
/// made from them.
const MINUTES_KEPT: i64 = 2 * HOUR;

impl Store {
    /// Adds up hours that are over, and clears away what has been kept long enough or is too much.
    /// `late`: a minute of an earlier hour came since the last time.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn tidy(
        &mut self,
        now: Timestamp,
        late: Option<i64>,
        retention: &Retention,
    ) -> Result<Option<Shortened>, StoreError> {
        let now = now.as_second();
        self.change(|db| {
            let rolled = hours::roll_up(db, now, late)?;
            forget_old(db, now, retention)?;
            if rolled {
                forget_unused(db, now)?;
            }
            shorten(db, now, retention.max_bytes)
        })
    }

    /// Bytes that are in use.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn bytes(&mut self) -> Result<u64, StoreError> {
        self.attempt(|db| bytes(db))
    }
}

fn bytes(db: &Connection) -> Result<u64, StoreError> {
    let value = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = value("page_count")?.saturating_sub(value("freelist_count")?);
    let bytes = pages.saturating_mul(value("page_size")?);
    Ok(u64::try_from(bytes).unwrap_or(0))
}

fn forget_old(db: &Connection, now: i64, retention: &Retention) -> Result<(), StoreError> {
    let before = |kept: Duration| {
        let kept = i64::try_from(kept.as_secs()).unwrap_or(i64::MAX);
        now.saturating_sub(kept)
    };
    // The hour that is not added up yet needs its minutes, however short they are kept.
    let minutes = before(retention.minutes).min(floor(now, HOUR).saturating_sub(HOUR));
    for (table, limit) in [
        ("minute", minutes),
        ("hour", before(retention.hours)),
        ("reply", before(retention.hours)),
    ] {
        for _ in 0..MOMENTS_AT_ONCE {
            match oldest(db, table)? {
                Some(at) if at < limit => forget_moment(db, table, at)?,
                _ => break,
            }
        }
    }
    forget_records(db, before(retention.records), now)?;
    Ok(())
}

fn oldest(db: &Connection, table: &str) -> Result<Option<i64>, StoreError> {
    let mut query = db.prepare_cached(&format!("SELECT min(at) FROM {table}"))?;
    Ok(query.query_row([], |row| row.get(0))?)
}

fn forget_moment(db: &Connection, table: &str, at: i64) -> Result<(), StoreError> {
    db.prepare_cached(&format!("DELETE FROM {table} WHERE at = ?1"))?
        .execute([at])?;
    Ok(())
}

/// Clears away some records of verdicts that are over, and some orders, from before `limit`.
fn forget_records(db: &Connection, limit: i64, now: i64) -> Result<usize, StoreError> {
    let verdicts = db
        .prepare_cached(
            "DELETE FROM verdict WHERE record IN (SELECT record FROM verdict
             WHERE since < ?1 AND (NOT open OR until < ?2) ORDER BY since LIMIT ?3)",
        )?
        .execute([limit, now, RECORDS_AT_ONCE])?;
    let orders = db
        .prepare_cached(
            "DELETE FROM audit WHERE entry IN
             (SELECT entry FROM audit WHERE at < ?1 ORDER BY at LIMIT ?2)",
        )?
        .execute([limit, RECORDS_AT_ONCE])?;
    Ok(verdicts + orders)
}

/// Names and texts that no row points to any more. It reads every row, so once a day is enough.
fn forget_unused(db: &Connection, now: i64) -> Result<(), StoreError> {
    if floor(now, HOUR) % (24 * HOUR) != 0 {
        return Ok(());
    }
    db.execute_batch(
        "DELETE FROM source WHERE id NOT IN (SELECT source FROM minute
            UNION SELECT source FROM hour UNION SELECT source FROM reply);
         DELETE FROM text WHERE id NOT IN (SELECT text FROM reply);",
    )?;
    Ok(())
}

/// Deletes the oldest until the database is smaller than it may be: minutes first, since there are
/// hours of the same time, then hours with replies, then records.
fn shorten(db: &Connection, now: i64, max: u64) -> Result<Option<Shortened>, StoreError> {
    if bytes(db)? <= max {
        return Ok(None);
    }
    // Some room, or the next minute begins it all again.
    let enough = max - max / 20;
    for _ in 0..MOMENTS_AT_ONCE {
        if bytes(db)? <= enough {
            break;
        }
        match (
            oldest(db, "minute")?,
            oldest(db, "hour")?,
            oldest(db, "reply")?,
        ) {
            (Some(minute), _, _) if minute < now.saturating_sub(MINUTES_KEPT) => {
                forget_moment(db, Table::Minute.name(), minute)?;
            }
            (_, Some(hour), reply) if reply.is_none_or(|reply| hour <= reply) => {
                forget_moment(db, Table::Hour.name(), hour)?;
            }
            (_, _, Some(reply)) => forget_moment(db, "reply", reply)?,
            _ => {
                if forget_records(db, i64::MAX, now)? == 0 {
                    break;
                }
            }
        }
    }
    let since = |at: Option<i64>| at.and_then(|at| Timestamp::from_second(at).ok());
    Ok(Some(Shortened {
        minutes_since: since(oldest(db, "minute")?),
        hours_since: since(oldest(db, "hour")?),
    }))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{history::write_minute, testing},
        *,
    };

    const DAY: i64 = 24 * HOUR;

    fn retention(max_bytes: u64) -> Retention {
        Retention {
            minutes: Duration::from_hours(24),
            hours: Duration::from_hours(24 * 10),
            records: Duration::from_hours(24 * 100),
            max_bytes,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn moments(store: &Store, table: &str) -> (i64, Option<i64>) {
        let sql = format!("SELECT count(DISTINCT at), min(at) FROM {table}");
        store
            .db
            .query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
    }

    #[test]
    fn each_is_kept_as_long_as_configured() {
        let mut store = Store::in_memory().unwrap();
        let end = 20 * DAY;
        for minute in (0..end).step_by(1_200) {
            let minute = testing::minute(minute, &[("user:a", 1)]);
            store.attempt(|db| write_minute(db, &minute)).unwrap();
        }
        store.put(&testing::record(1, "user:a")).unwrap();
        let over = crate::control::api::VerdictRecord {
            ended: Some(crate::control::api::Ended {
                at: at(60),
                by: "time".to_owned(),
            }),
            ..testing::record(2, "user:a")
        };
        store.put(&over).unwrap();
        store.note_order(&testing::order("user:a")).unwrap();
        for _ in 0..20 {
            assert_eq!(
                store.tidy(at(end), None, &retention(1 << 30)).unwrap(),
                None
            );
        }
        assert_eq!(moments(&store, "minute"), (72, Some(19 * DAY)));
        assert_eq!(moments(&store, "hour"), (240, Some(10 * DAY)));
        assert_eq!(store.orders(9).unwrap().len(), 1);
        store
            .tidy(at(200 * DAY), None, &retention(1 << 30))
            .unwrap();
        assert_eq!(store.orders(9).unwrap(), []);
        // What is in force is kept for as long as it is.
        let left = store.of_source("user:a", 9).unwrap();
        assert_eq!(left, [testing::record(1, "user:a")]);
    }

    #[test]
    fn what_is_too_much_is_cut_from_its_oldest_end_and_said_so() {
        let mut store = Store::in_memory().unwrap();
        let names: Vec<String> = (0..200).map(|n| format!("user:{n}")).collect();
        let sources: Vec<_> = names.iter().map(|name| (name.as_str(), 3)).collect();
        for minute in (0..12 * HOUR).step_by(60) {
            let minute = testing::minute(minute, &sources);
            store.attempt(|db| write_minute(db, &minute)).unwrap();
        }
        let full = store.bytes().unwrap();
        let small = retention(full / 2);
        let shortened = store.tidy(at(12 * HOUR), None, &small).unwrap().unwrap();
        let mut rounds = 0;
        while store.bytes().unwrap() > full / 2 {
            store.tidy(at(12 * HOUR), None, &small).unwrap();
            rounds += 1;
            assert!(rounds < 10);
        }
        assert!(shortened.minutes_since > Some(at(0)));
        assert_eq!(moments(&store, "hour"), (12, Some(0)));
        // Even when nothing fits: no endless loop, and the daemon can still write.
        store.tidy(at(12 * HOUR), None, &retention(1)).unwrap();
        store.put(&testing::record(1, "user:a")).unwrap();
    }
}
