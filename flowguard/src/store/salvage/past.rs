//! What sources did, out of a damaged database. Names and texts have other numbers in the new one.
//!
//! These tables have rows in the inner pages of their trees, too. Of a broken leaf, the row behind it is
//! lost as well, for SQLite looks into the leaf on its way there, and so are those of the same number.

use std::collections::HashMap;

use rusqlite::{Connection, Row};

use super::super::{
    Store, StoreError, checksum,
    history::{self, HOUR, Numbers, floor},
    hours,
    replies::Reply,
    scan::Table,
};

type Source = (i64, String, Option<String>);
type Text = (i64, String);

pub(super) const SOURCES: Table<Source> = Table {
    rows: "SELECT id, checksum, name, package FROM source WHERE id >= ?1 ORDER BY id",
    count: None,
    read: |row| {
        let (id, name) = named(row)?;
        Some((id, name, row.get(3).unwrap_or(None)))
    },
};

pub(super) const TEXTS: Table<Text> = Table {
    rows: "SELECT id, checksum, text FROM text WHERE id >= ?1 ORDER BY id",
    count: None,
    read: named,
};

pub(super) const HOURS: Table<Numbers> = Table {
    rows: "SELECT at / 3600 * ?2 + source, * FROM hour
           WHERE (at, source) >= (?1 / ?2 * 3600, ?1 % ?2) ORDER BY at, source, class",
    count: None,
    read: |row| history::read_behind(row, 1),
};

pub(super) const MINUTES: Table<Numbers> = Table {
    rows: "SELECT at / 60 * ?2 + source, * FROM minute
           WHERE (at, source) >= (?1 / ?2 * 60, ?1 % ?2) ORDER BY at, source, class",
    count: None,
    read: |row| history::read_behind(row, 1),
};

pub(super) const REPLIES: Table<Reply> = Table {
    rows: "SELECT at / 60 * ?2 + source,
               at, source, class, text, count, checksum, server, sent_from FROM reply
           WHERE (at, source) >= (?1 / ?2 * 60, ?1 % ?2)
           ORDER BY at, source, class, text, server, sent_from",
    count: None,
    read: |row| Reply::read(row, 1),
};

/// Before the addresses were kept that servers see.
const REPLIES_WITHOUT_ADDRESS: Table<Reply> = Table {
    rows: "SELECT at / 60 * ?2 + source,
               at, source, class, text, count, checksum, server, '' FROM reply
           WHERE (at, source) >= (?1 / ?2 * 60, ?1 % ?2) ORDER BY at, source, class, text, server",
    ..REPLIES
};

/// Replies as a database has them.
pub(super) fn replies(db: &Connection) -> &'static Table<Reply> {
    match db.prepare("SELECT sent_from FROM reply LIMIT 0") {
        Ok(_) => &REPLIES,
        Err(_) => &REPLIES_WITHOUT_ADDRESS,
    }
}

fn named(row: &Row<'_>) -> Option<Text> {
    let (id, sum, text): (i64, i64, String) =
        (row.get(0).ok()?, row.get(1).ok()?, row.get(2).ok()?);
    (checksum::text(&text) == sum).then_some((id, text))
}

/// What numbers stand for in the damaged database.
#[derive(Debug, Default)]
pub(super) struct Names {
    sources: HashMap<i64, (String, Option<String>)>,
    texts: HashMap<i64, String>,
}

impl Names {
    pub(super) fn add_sources(&mut self, sources: Vec<Source>) {
        let named = sources
            .into_iter()
            .map(|(id, name, package)| (id, (name, package)));
        self.sources.extend(named);
    }

    pub(super) fn add_texts(&mut self, texts: Vec<Text>) {
        self.texts.extend(texts);
    }

    /// One more than the greatest number of a source.
    pub(super) fn width(&self) -> i64 {
        self.sources
            .keys()
            .max()
            .map_or(1, |last| last.saturating_add(1).max(1))
    }

    /// Writes rows of minutes or hours that have a name; how many those are.
    pub(super) fn put(
        &self,
        store: &mut Store,
        table: history::Table,
        rows: &[Numbers],
    ) -> Result<u64, StoreError> {
        store.change(|db| {
            let mut put = 0;
            for row in rows {
                if let Some((name, package)) = self.sources.get(&row[1]) {
                    let mut row = *row;
                    row[1] = history::source_id(db, name, package.as_deref())?;
                    history::add_older(db, table, &row)?;
                    put += 1;
                }
            }
            Ok(put)
        })
    }

    /// The same of replies.
    pub(super) fn put_replies(
        &self,
        store: &mut Store,
        replies: &[Reply],
    ) -> Result<u64, StoreError> {
        store.change(|db| {
            let mut put = 0;
            for reply in replies {
                let source = self.sources.get(&reply.source);
                let text = self.texts.get(&reply.text);
                if let Some(((name, _), text)) = source.zip(text) {
                    let reply = Reply {
                        source: history::source_id(db, name, None)?,
                        text: history::text_id(db, text)?,
                        ..reply.clone()
                    };
                    reply.add_older(db)?;
                    put += 1;
                }
            }
            Ok(put)
        })
    }
}

/// Adds up the hours that the damaged database had not added up yet, `last` being the last of its
/// minutes: the new one may have added up some of them without these.
pub(super) fn add_up(
    store: &mut Store,
    added_up: Option<i64>,
    last: i64,
    now: i64,
) -> Result<(), StoreError> {
    let from = added_up.map_or(i64::MIN, |hour| hour.saturating_add(HOUR));
    let end = floor(last, HOUR).saturating_add(HOUR).min(floor(now, HOUR));
    store.change(|db| hours::add_up(db, from, end))?;
    Ok(())
}
