//! What can go wrong with the database.

use std::{io, path::PathBuf};

use rusqlite::ErrorCode;

/// What went wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its folder cannot be made.
    #[error("cannot create the folder of {}", path.display())]
    Folder {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is none.
    #[error("there is no database {}: the daemon makes it when it starts", path.display())]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It is damaged and cannot be set aside.
    #[error("cannot move the damaged database {} out of the way", path.display())]
    SetAside {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A newer flowguard wrote it.
    #[error("{} was written by a newer flowguard (schema {found}, this one knows {known})", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// An older flowguard wrote it, and this one may only read.
    #[error("{} was written by an older flowguard: start the daemon once, which brings it up to date", path.display())]
    Older {
        /// The database.
        path: PathBuf,
    },
    /// SQLite cannot bring its tables up to date, for they do not hold what they promise.
    #[error("the tables of the database are damaged")]
    Tables(#[source] rusqlite::Error),
    /// SQLite failed.
    #[error("the database failed")]
    Database(#[from] rusqlite::Error),
    /// A row is not what was written.
    #[error("{what} in the database is damaged")]
    Row {
        /// Which.
        what: String,
    },
    /// A record cannot be written as JSON.
    #[error("record {record} cannot be written")]
    Unwritable {
        /// Its number.
        record: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The keeper's queue is full, or its thread has ended.
    #[error("the database is too slow: {waiting} things wait to be written")]
    Busy {
        /// How many there is room for.
        waiting: usize,
    },
}

impl StoreError {
    /// Whether the file is no database any more.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Database(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ),
            Self::Tables(_) => true,
            _ => false,
        }
    }

    /// What SQLite says of it.
    pub(super) fn damage(&self) -> String {
        match self {
            Self::Database(error) | Self::Tables(error) => error.to_string(),
            other => other.to_string(),
        }
    }

    /// Whether one row is not what was written, while the rest may be.
    pub(super) fn is_bad_row(error: &rusqlite::Error) -> bool {
        matches!(
            error,
            rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..)
        )
    }
}
