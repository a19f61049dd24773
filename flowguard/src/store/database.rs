//! Opening the file, and what happens when it breaks.

use std::{
    fs, io, mem,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::Connection;

use super::{StoreError, salvage, schema};

/// How long to wait for another process that has the database locked.
const BUSY_TIMEOUT: Duration = Duration::from_millis(100);

/// Bytes of the write-ahead log that are kept when it is done with; more are cut off.
const WAL_KEPT: i64 = 16 << 20;

/// How a database was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// As it was, or new.
    Normally,
    /// The old one was damaged and is kept under this name.
    Afresh(PathBuf),
}

/// The database.
#[derive(Debug)]
pub struct Store {
    pub(super) db: Connection,
    /// Where it is; none: in memory, for good.
    path: Option<PathBuf>,
    /// Device and inode of the file that is open; none: in memory.
    file: Option<(u64, u64)>,
    /// What had to be done to go on, to be told to operators.
    pub(super) mishap: Option<String>,
    /// Damaged files from which not all is carried over yet.
    pub(super) aside: Vec<PathBuf>,
    /// How often another file took the place of the one that was in use.
    pub(super) replaced: u64,
}

impl Store {
    /// Opens the database, making it if there is none. A damaged one is set aside under another
    /// name and a new one made.
    ///
    /// # Errors
    ///
    /// It cannot be made, or a newer flowguard wrote it.
    pub fn open(path: &Path) -> Result<(Self, Opened), StoreError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|source| StoreError::Folder {
                path: path.to_owned(),
                source,
            })?;
        }
        match Self::try_open(path) {
            Ok(store) => Ok((store, Opened::Normally)),
            Err(error) if error.is_damage() => {
                let aside = set_aside(path)?;
                let mut store = Self::try_open(path)?;
                store.mishap = Some(told(&error.damage(), &aside));
                store.note_aside(aside.clone());
                Ok((store, Opened::Afresh(aside)))
            }
            Err(error) => Err(error),
        }
    }

    /// A database that ends with the process: for a host whose disk will not have one.
    ///
    /// # Errors
    ///
    /// SQLite is out of memory.
    pub fn in_memory() -> Result<Self, StoreError> {
        let db = prepared(Connection::open_in_memory()?, Path::new(":memory:"))?;
        Ok(Self {
            db,
            path: None,
            file: None,
            mishap: None,
            aside: Vec::new(),
            replaced: 0,
        })
    }

    fn try_open(path: &Path) -> Result<Self, StoreError> {
        let db = prepared(Connection::open(path)?, path)?;
        let aside = salvage::noted(&db, path)?;
        Ok(Self {
            db,
            path: Some(path.to_owned()),
            file: file_at(path),
            mishap: None,
            aside,
            replaced: 0,
        })
    }

    /// Works with another database from now on, which was opened in the place of this one.
    fn go_on_with(&mut self, opened: Self) {
        (self.db, self.file) = (opened.db, opened.file);
        self.replaced += 1;
        self.mishap = opened.mishap.or(self.mishap.take());
        let earlier = mem::replace(&mut self.aside, opened.aside);
        for aside in earlier {
            self.note_aside(aside);
        }
    }

    /// Keeps in mind, and in the database, that something may be read of a damaged file. Numbers that
    /// are given from now on are higher than any in it: milliseconds since 1970 are more than there
    /// will ever be.
    fn note_aside(&mut self, aside: PathBuf) {
        if self.aside.contains(&aside) {
            return;
        }
        let noted = salvage::note(&mut self.db, &aside);
        if let Err(error) = noted {
            let path = aside.display();
            tracing::error!(%path, %error, "after a restart it will not be known that something can be read of the damaged database");
        }
        self.aside.push(aside);
    }

    /// Works with the database. Damage that shows is set aside, and the work done on a new one.
    pub(super) fn attempt<T>(
        &mut self,
        work: impl Fn(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match work(&mut self.db) {
            Err(error) if error.is_damage() && self.path.is_some() => {
                self.begin_anew(&error.damage())?;
                work(&mut self.db)
            }
            done => done,
        }
    }

    /// Works with the database in one transaction.
    pub(super) fn change<T>(
        &mut self,
        work: impl Fn(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.attempt(|db| {
            let change = db.transaction()?;
            let done = work(&change)?;
            change.commit()?;
            Ok(done)
        })
    }

    /// Opens the file again if it is not what is open any more: somebody removed or replaced it,
    /// and what is written would be lost. So it is, too, after the disk refused a new file.
    pub(super) fn look_after_file(&mut self) -> Result<(), StoreError> {
        let Some(path) = self.path.clone() else {
            return Ok(());
        };
        let log_is_there = companion(&path, "-wal").exists();
        if self.file.is_some() && self.file == file_at(&path) && log_is_there {
            return Ok(());
        }
        if self.file.take().is_some() {
            // Before a new one is tried: that may fail for now, and succeed without a word later.
            self.mishap = Some(format!(
                "somebody removed or replaced the database {} or its log while it was in use: what \
                 is there now goes on, and what it lacks is lost",
                path.display()
            ));
        }
        // Closed first: it removes its companions by their names.
        self.db = Self::in_memory()?.db;
        let (opened, _) = Self::open(&path)?;
        self.go_on_with(opened);
        Ok(())
    }

    /// Whether what is written will be there after the process.
    pub(super) fn is_lasting(&self) -> bool {
        self.file.is_some()
    }

    /// Reads all of the file and looks whether it holds together, which SQLite does not notice by
    /// itself as long as it finds what it looks for. Damage is set aside.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or no new one made.
    pub fn verify(&mut self) -> Result<(), StoreError> {
        let found = self.attempt(|db| {
            let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            Ok(found)
        })?;
        if found == "ok" {
            Ok(())
        } else {
            self.begin_anew(&found)
        }
    }

    /// Sets the damaged file aside and goes on with a new one; in memory, if there can be none now.
    fn begin_anew(&mut self, reason: &str) -> Result<(), StoreError> {
        let Some(path) = self.path.clone() else {
            return Ok(());
        };
        self.file = None;
        // Closing writes to the file, for the last time.
        drop(mem::replace(&mut self.db, Self::in_memory()?.db));
        let aside = set_aside(&path)?;
        self.mishap = Some(told(reason, &aside));
        // For now; the new database is told below.
        self.aside.push(aside);
        let (opened, _) = Self::open(&path)?;
        self.go_on_with(opened);
        Ok(())
    }
}

fn told(reason: &str, aside: &Path) -> String {
    format!(
        "the database was damaged ({reason}): it is kept as {}, and a new one was begun. What can be \
         read of it is being carried over",
        aside.display()
    )
}

fn prepared(db: Connection, path: &Path) -> Result<Connection, StoreError> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: what was committed is on the disk, and a power cut loses what has not been. With
    // NORMAL it could lose all since the last checkpoint, which may be hours old.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "journal_size_limit", WAL_KEPT)?;
    schema::bring_up(&db, path)?;
    Ok(db)
}

/// Device and inode.
fn file_at(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

pub(super) fn companion(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Renames the database and its log; the first free of `NAME.damaged-1`, `-2`, ….
fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let failed = |source| StoreError::SetAside {
        path: path.to_owned(),
        source,
    };
    let aside = (1..)
        .map(|n: u64| companion(path, &format!(".damaged-{n}")))
        .find(|candidate| !candidate.exists())
        .ok_or(io::ErrorKind::AlreadyExists)
        .map_err(|kind| failed(kind.into()))?;
    let moves = ["", "-wal"].map(|suffix| (companion(path, suffix), companion(&aside, suffix)));
    for (from, to) in moves {
        absent_is_fine(fs::rename(from, to)).map_err(failed)?;
    }
    absent_is_fine(fs::remove_file(companion(path, "-shm"))).map_err(failed)?;
    Ok(aside)
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::record, *};

    #[test]
    fn a_damaged_database_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        fs::write(
            &path,
            b"this is no database, and long enough to be told apart from an empty one",
        )
        .unwrap();
        let (mut store, opened) = Store::open(&path).unwrap();
        assert_eq!(
            opened,
            Opened::Afresh(folder.path().join("state.db.damaged-1"))
        );
        store.put(&record(1, "user:bob")).unwrap();
    }

    #[test]
    fn a_newer_database_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        assert!(matches!(
            Store::open(&path),
            Err(StoreError::Newer { found: 99, .. })
        ));
        assert!(path.exists());
    }

    #[test]
    fn a_file_that_vanishes_is_made_again_and_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let (mut store, _) = Store::open(&path).unwrap();
        store.put(&record(1, "user:bob")).unwrap();
        store.look_after_file().unwrap();
        assert_eq!(store.mishap, None);
        fs::remove_file(&path).unwrap();
        store.look_after_file().unwrap();
        assert!(store.mishap.is_some());
        assert_eq!(store.get(1).unwrap(), None);
        store.put(&record(2, "user:bob")).unwrap();
        drop(store);
        let (mut store, opened) = Store::open(&path).unwrap();
        assert_eq!(opened, Opened::Normally);
        assert!(store.get(2).unwrap().is_some());
    }

    #[test]
    fn a_log_that_vanishes_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let (mut store, _) = Store::open(&path).unwrap();
        store.put(&record(1, "user:bob")).unwrap();
        fs::remove_file(companion(&path, "-wal")).unwrap();
        store.look_after_file().unwrap();
        assert!(store.get(1).unwrap().is_some());
        store.put(&record(2, "user:bob")).unwrap();
        assert!(companion(&path, "-wal").exists());
    }
}
