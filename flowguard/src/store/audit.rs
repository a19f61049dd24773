//! What operators ordered.

use rusqlite::{Connection, params};

use super::{Store, StoreError, checksum, scan::Table};
use crate::control::api::AuditEntry;

/// All orders, out of a damaged database.
pub(super) const SALVAGE: Table<AuditEntry> = Table {
    rows: "SELECT entry, body, checksum FROM audit WHERE entry >= ?1 ORDER BY entry",
    count: Some("SELECT count(*) FROM audit INDEXED BY audit_at"),
    read: |row| read((row.get(0), row.get(1), row.get(2))),
};

impl Store {
    /// Notes what an operator ordered.
    ///
    /// # Errors
    ///
    /// The disk is full, or the database fails otherwise.
    pub fn note_order(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.attempt(|db| note_order(db, entry))
    }

    /// The last orders, newest first. Damaged ones are left out.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn orders(&mut self, most: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.attempt(|db| {
            let mut query = db.prepare_cached(
                "SELECT entry, body, checksum FROM audit ORDER BY entry DESC LIMIT ?1",
            )?;
            let mut rows = query.query([most])?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next()? {
                let stored = (row.get(0), row.get(1), row.get(2));
                match read(stored) {
                    Some(entry) => entries.push(entry),
                    None => tracing::error!("leaving a damaged order out"),
                }
            }
            Ok(entries)
        })
    }
}

type Stored = (
    rusqlite::Result<i64>,
    rusqlite::Result<String>,
    rusqlite::Result<i64>,
);

/// None: it is damaged.
fn read((number, body, sum): Stored) -> Option<AuditEntry> {
    let (number, body) = (number.ok()?, body.ok()?);
    if checksum::text(&body) != sum.ok()? {
        return None;
    }
    let entry: AuditEntry = serde_json::from_str(&body).ok()?;
    Some(AuditEntry {
        entry: u64::try_from(number).ok()?,
        ..entry
    })
}

pub(super) fn note_order(db: &Connection, entry: &AuditEntry) -> Result<(), StoreError> {
    write(db, None, entry)
}

/// Writes an order out of an earlier file under its number, unless there is one of that number.
pub(super) fn put_older(db: &Connection, entry: &AuditEntry) -> Result<(), StoreError> {
    let number = i64::try_from(entry.entry).unwrap_or(0);
    write(db, Some(number), entry)
}

fn write(db: &Connection, number: Option<i64>, entry: &AuditEntry) -> Result<(), StoreError> {
    let body = serde_json::to_string(entry).map_err(|source| StoreError::Unwritable {
        record: entry.entry,
        source,
    })?;
    db.prepare_cached(
        "INSERT INTO audit (entry, at, body, checksum) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (entry) DO NOTHING",
    )?
    .execute(params![
        number,
        entry.at.as_second(),
        body,
        checksum::text(&body)
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::testing::order, *};

    #[test]
    fn orders_are_listed_newest_first_and_as_they_were_given() {
        let mut store = Store::in_memory().unwrap();
        let hostile = "user:\u{1b}]0;'); DROP TABLE audit; --\0";
        for source in ["user:a", hostile, "user:c"] {
            store.note_order(&order(source)).unwrap();
        }
        let listed = store.orders(2).unwrap();
        let sources: Vec<_> = listed
            .iter()
            .filter_map(|order| order.source.as_deref())
            .collect();
        assert_eq!(sources, ["user:c", hostile]);
        assert_eq!(listed[0].entry, 3);
    }
}
