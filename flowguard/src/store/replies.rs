//! Replies that said no, as they are kept.

use std::net::IpAddr;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{
    StoreError, checksum,
    history::{class_of, number_of, source_id, text_id},
};
use crate::{model::ClassName, policy::Origin};

/// What a mail server said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    /// Which one.
    pub server: IpAddr,
    /// What, without recipients.
    pub text: String,
    /// The address that it saw; none: it is not known.
    pub sent_from: Option<Origin>,
}

/// A reply that said no, and how often it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// To whom: `kind:name`, unescaped.
    pub source: String,
    /// In which class.
    pub class: ClassName,
    /// What and by whom.
    pub said: Said,
    /// How often.
    pub count: u32,
}

/// A row of `reply`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) at: i64,
    pub(super) source: i64,
    pub(super) class: i64,
    pub(super) text: i64,
    pub(super) count: i64,
    pub(super) server: String,
    /// Empty: it is not known.
    pub(super) sent_from: String,
}

/// The columns that [`Reply::read`] reads.
pub(super) const COLUMNS: &str = "at, source, class, text, count, checksum, server, sent_from";

impl Reply {
    /// A row of [`COLUMNS`] behind some others; none: it is damaged.
    pub(super) fn read(row: &Row<'_>, others: usize) -> Option<Self> {
        let number = |index| row.get::<_, i64>(others + index).ok();
        let reply = Self {
            at: number(0)?,
            source: number(1)?,
            class: number(2)?,
            text: number(3)?,
            count: number(4)?,
            server: row.get(others + 6).ok()?,
            sent_from: row.get(others + 7).ok()?,
        };
        (number(5)? == reply.checksum()).then_some(reply)
    }

    /// Without an address it is what it was before addresses were kept.
    fn checksum(&self) -> i64 {
        let all = [
            self.at,
            self.source,
            self.class,
            self.text,
            self.count,
            checksum::text(&self.server),
            checksum::text(&self.sent_from),
        ];
        let [before @ .., _] = &all;
        checksum::numbers(if self.sent_from.is_empty() {
            before
        } else {
            &all
        })
    }

    /// What it says, where `source` and `text` are what its numbers stand for; none: that makes no
    /// sense.
    pub(super) fn heard(self, source: String, text: String) -> Option<Heard> {
        let sent_from = match &*self.sent_from {
            "" => None,
            address => Some(address.parse::<IpAddr>().ok()?.into()),
        };
        Some(Heard {
            source,
            class: class_of(self.class)?,
            said: Said {
                server: self.server.parse().ok()?,
                text,
                sent_from,
            },
            count: u32::try_from(self.count).unwrap_or(u32::MAX),
        })
    }

    /// Writes it unless there is one of its keys.
    pub(super) fn add_older(&self, db: &Connection) -> Result<(), StoreError> {
        self.write(db, "IGNORE")
    }

    fn write(&self, db: &Connection, or: &str) -> Result<(), StoreError> {
        let Self {
            at,
            source,
            class,
            text,
            count,
            server,
            sent_from,
        } = self;
        let sum = self.checksum();
        db.prepare_cached(&format!(
            "INSERT OR {or} INTO reply ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
        ))?
        .execute(params![
            at, source, class, text, count, sum, server, sent_from
        ])?;
        Ok(())
    }
}

/// Adds a reply to what is known of its minute.
pub(super) fn write_heard(db: &Connection, at: i64, heard: &Heard) -> Result<(), StoreError> {
    let said = &heard.said;
    let sent_from = said.sent_from.map(|origin| origin.address().to_string());
    let mut reply = Reply {
        at,
        source: source_id(db, &heard.source, None)?,
        class: number_of(heard.class),
        text: text_id(db, &said.text)?,
        count: i64::from(heard.count),
        server: said.server.to_string(),
        sent_from: sent_from.unwrap_or_default(),
    };
    let known: Option<i64> = db
        .prepare_cached(
            "SELECT count FROM reply WHERE at = ?1 AND source = ?2 AND class = ?3 AND text = ?4
             AND server = ?5 AND sent_from = ?6",
        )?
        .query_row(
            params![
                at,
                reply.source,
                reply.class,
                reply.text,
                reply.server,
                reply.sent_from
            ],
            |row| row.get(0),
        )
        .optional()?;
    reply.count = reply.count.saturating_add(known.unwrap_or(0));
    reply.write(db, "REPLACE")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Minute, Reader, Store, history::write_minute, testing},
        *,
    };

    fn said(server: u8, sent_from: Option<&str>) -> Said {
        let sent_from = sent_from.map(|address| address.parse::<IpAddr>().unwrap().into());
        Said {
            server: [192, 0, 2, server].into(),
            text: "550 no".to_owned(),
            sent_from,
        }
    }

    fn heard(said: Said, count: u32) -> Heard {
        Heard {
            source: "user:a".to_owned(),
            class: ClassName::Direct,
            said,
            count,
        }
    }

    /// What the history has heard, in order.
    fn read(path: &std::path::Path) -> (Vec<(i64, Heard)>, u64) {
        let (mut all, mut damaged) = (Vec::new(), 0);
        let reader = Reader::open(path).unwrap();
        let take = |span: super::super::Span| -> Result<(), StoreError> {
            all.extend(span.heard);
            damaged += span.damaged;
            Ok(())
        };
        reader.spans(0, take).unwrap();
        (all, damaged)
    }

    fn write(store: &mut Store, at: i64, heard: Vec<Heard>) {
        // What is read is read by what sources did.
        let minute = Minute {
            heard,
            ..testing::minute(at, &[("user:a", 1)])
        };
        store.attempt(|db| write_minute(db, &minute)).unwrap();
    }

    #[test]
    fn replies_to_several_addresses_are_told_apart_and_added_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let (mut store, _) = Store::open(&path).unwrap();
        let known = [None, Some("198.51.100.1"), Some("2001:db8::5")];
        for _ in 0..2 {
            let heard = known.map(|address| heard(said(1, address), 3));
            write(&mut store, 60, heard.into());
        }
        let (all, damaged) = read(&path);
        assert_eq!(damaged, 0);
        let expected = [None, Some("198.51.100.1"), Some("2001:db8::")];
        assert_eq!(
            all,
            expected.map(|address| (60, heard(said(1, address), 6)))
        );
        // Another address is another row, and a checksum tells.
        for change in [
            "UPDATE reply SET sent_from = '198.51.100.2' WHERE sent_from = '198.51.100.1'",
            "UPDATE reply SET sent_from = '198.51.100.3' WHERE sent_from = ''",
            "UPDATE reply SET sent_from = '' WHERE sent_from = '2001:db8::'",
        ] {
            assert_eq!(store.db.execute(change, []).unwrap(), 1, "{change}");
        }
        assert_eq!(read(&path), (Vec::new(), 3));
    }

    #[test]
    fn rows_from_before_addresses_were_kept_are_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        testing::without_addresses(&path, 1..4);
        let (mut store, opened) = Store::open(&path).unwrap();
        assert_eq!(opened, super::super::Opened::Normally);
        write(&mut store, 60, vec![heard(said(1, None), 1)]);
        write(&mut store, 120, vec![heard(said(1, Some("9.9.9.9")), 1)]);
        write(&mut store, 180, Vec::new());
        let (all, damaged) = read(&path);
        assert_eq!(damaged, 0);
        assert_eq!(
            all,
            [
                (60, heard(said(1, None), 3)),
                (120, heard(said(1, None), 2)),
                (120, heard(said(1, Some("9.9.9.9")), 1)),
                (180, heard(said(1, None), 2)),
            ]
        );
    }
}
