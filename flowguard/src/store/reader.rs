//! Reading history beside a running daemon.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, params};

use super::{
    StoreError, checksum,
    history::{self, Activity, COLUMNS, HOUR, MINUTE, Table, class_of, floor, totals},
    replies::{self, Heard, Reply},
    schema,
};

/// What was done within a minute or an hour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Its beginning, seconds since 1970.
    pub at: i64,
    /// How long it is, seconds.
    pub seconds: i64,
    /// Who did what.
    pub activity: Vec<Activity>,
    /// What mail servers said to whom, and in which minute, seconds since 1970.
    pub heard: Vec<(i64, Heard)>,
    /// Rows that were damaged and are left out.
    pub damaged: u64,
}

/// The history, for reading.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
    sources: HashMap<i64, (String, Option<String>)>,
    texts: HashMap<i64, String>,
}

impl Reader {
    /// Opens a database that a daemon made, which may be running.
    ///
    /// # Errors
    ///
    /// There is none, it may not be read, or another version of flowguard wrote it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::Absent {
                path: path.to_owned(),
            });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        Self::of(db, path.to_owned())
    }

    fn of(db: Connection, path: PathBuf) -> Result<Self, StoreError> {
        let found = schema::version(&db)?;
        if found < schema::KNOWN {
            return Err(StoreError::Older { path });
        }
        if found > schema::KNOWN {
            return Err(StoreError::Newer {
                path,
                found,
                known: schema::KNOWN,
            });
        }
        // One view of everything, whatever the daemon writes meanwhile.
        db.execute_batch("BEGIN")?;
        let mut reader = Self {
            db,
            sources: HashMap::new(),
            texts: HashMap::new(),
        };
        reader.read_names()?;
        Ok(reader)
    }

    fn read_names(&mut self) -> Result<(), StoreError> {
        let mut query = self
            .db
            .prepare("SELECT id, checksum, name, package FROM source")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let named = (row.get(0), row.get::<_, i64>(1), row.get::<_, String>(2));
            if let (Ok(id), Ok(sum), Ok(name)) = named
                && checksum::text(&name) == sum
            {
                self.sources.insert(id, (name, row.get(3).unwrap_or(None)));
            }
        }
        let mut query = self.db.prepare("SELECT id, checksum, text FROM text")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let texts = (row.get(0), row.get::<_, i64>(1), row.get::<_, String>(2));
            if let (Ok(id), Ok(sum), Ok(text)) = texts
                && checksum::text(&text) == sum
            {
                self.texts.insert(id, text);
            }
        }
        Ok(())
    }

    /// Hands over what was done from `since` on, oldest first: hours while there is nothing finer,
    /// then minutes.
    ///
    /// # Errors
    ///
    /// The database fails, or whoever takes it does.
    pub fn spans<E: From<StoreError>>(
        &self,
        since: i64,
        mut take: impl FnMut(Span) -> Result<(), E>,
    ) -> Result<(), E> {
        let border = self.border().map_err(E::from)?;
        self.table(Table::Hour, floor(since, HOUR), border, &mut take)?;
        self.table(Table::Minute, since.max(border), i64::MAX, &mut take)
    }

    /// The moment before which there are hours, and from which on there are minutes.
    fn border(&self) -> Result<i64, StoreError> {
        let value = |sql: &str, hour: Option<i64>| {
            self.db
                .query_row(sql, params![hour], |row| row.get::<_, Option<i64>>(0))
        };
        let Some(first) = value("SELECT min(at) FROM minute WHERE ?1 IS NULL", None)? else {
            return Ok(i64::MAX);
        };
        // Of the hour in which minutes begin, the first ones may be gone.
        let hour = floor(first, HOUR);
        let is_added_up = value("SELECT max(at) FROM hour WHERE at = ?1", Some(hour))?.is_some();
        let older = value("SELECT min(at) FROM hour WHERE at < ?1", Some(hour))?.is_some();
        Ok(if is_added_up && older {
            hour.saturating_add(HOUR)
        } else {
            hour
        })
    }

    fn table<E: From<StoreError>>(
        &self,
        table: Table,
        from: i64,
        to: i64,
        take: &mut impl FnMut(Span) -> Result<(), E>,
    ) -> Result<(), E> {
        let seconds = match table {
            Table::Minute => MINUTE,
            Table::Hour => HOUR,
        };
        let failed = |error: rusqlite::Error| E::from(StoreError::from(error));
        let sql = format!(
            "SELECT {COLUMNS} FROM {} WHERE at >= ?1 AND at < ?2 ORDER BY at, source, class",
            table.name()
        );
        let mut query = self.db.prepare(&sql).map_err(failed)?;
        let mut rows = query.query([from, to]).map_err(failed)?;
        let mut span = Span::default();
        loop {
            let row = rows.next().map_err(failed)?;
            let at = row.and_then(|row| row.get(0).ok());
            if at != Some(span.at) && !(span.activity.is_empty() && span.damaged == 0) {
                self.add_heard(&mut span).map_err(E::from)?;
                take(std::mem::take(&mut span))?;
            }
            let Some(row) = row else {
                return Ok(());
            };
            (span.at, span.seconds) = (at.unwrap_or(span.at), seconds);
            match history::read(row).and_then(|row| self.activity(&row)) {
                Some(activity) => span.activity.push(activity),
                None => span.damaged += 1,
            }
        }
    }

    fn activity(&self, row: &history::Numbers) -> Option<Activity> {
        let (source, package) = self.sources.get(&row[1])?;
        Some(Activity {
            source: source.clone(),
            package: package.clone(),
            class: class_of(row[2])?,
            totals: totals(row),
            knows_plain: history::knows_plain(row),
        })
    }

    fn add_heard(&self, span: &mut Span) -> Result<(), StoreError> {
        let mut query = self.db.prepare_cached(&format!(
            "SELECT {} FROM reply
             WHERE at >= ?1 AND at < ?2 ORDER BY at, source, class, text, server, sent_from",
            replies::COLUMNS
        ))?;
        let mut rows = query.query([span.at, span.at.saturating_add(span.seconds)])?;
        while let Some(row) = rows.next()? {
            match self.heard(row) {
                Some(heard) => span.heard.push(heard),
                None => span.damaged += 1,
            }
        }
        Ok(())
    }

    fn heard(&self, row: &rusqlite::Row<'_>) -> Option<(i64, Heard)> {
        let reply = Reply::read(row, 0)?;
        let (source, _) = self.sources.get(&reply.source)?;
        let text = self.texts.get(&reply.text)?;
        let at = reply.at;
        Some((at, reply.heard(source.clone(), text.clone())?))
    }
}
