//! The thread's side of the keeper: what is handed over is written, in its order; in between, the
//! database is looked after.

use std::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvError, TryRecvError},
    },
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    Health, Retention, Store, StoreError,
    audit::note_order,
    history::write_minute,
    keeper::{Work, Write, lock},
    salvage::{self, Salvage},
    verdicts::put,
};

/// How often the whole file is looked through for damage, from the first minute on.
const VERIFIED_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// Things that are written in one transaction: each costs the disk one flush.
const AT_ONCE: usize = 512;

/// How long a daemon that starts may wait until records are carried over from a damaged database.
const AT_START: Duration = Duration::from_secs(5);

/// The database, and what is known of it.
pub(super) struct Desk {
    store: Store,
    health: Arc<Mutex<Health>>,
    /// The last minute that was written.
    last_minute: i64,
    /// An earlier one that came after it, until hours are added up again.
    late: Option<i64>,
    /// When it was last told the time.
    now: Option<Timestamp>,
    /// When the file was last looked through for damage.
    verified: Option<Timestamp>,
    /// The damaged file from which something is being carried over.
    salvage: Option<Salvage>,
    /// It cannot be gone on with for now.
    salvage_waits: bool,
}

impl Desk {
    pub(super) fn new(store: Store, health: Arc<Mutex<Health>>) -> Self {
        Self {
            store,
            health,
            last_minute: i64::MIN,
            late: None,
            now: None,
            verified: None,
            salvage: None,
            salvage_waits: false,
        }
    }

    pub(super) fn run(mut self, work: &Receiver<Work>, in_force: bool) {
        self.note_mishap();
        let begun = Instant::now();
        while self.can_salvage()
            && self.salvage.as_ref().is_none_or(|file| !file.has_records())
            && begun.elapsed() < AT_START
        {
            self.go_on_with_salvage(in_force);
        }
        let mut writes = Vec::new();
        while let Ok(first) = self.next(work) {
            let mut next = Some(first);
            while let Some(work_now) = next.take() {
                match work_now {
                    Work::Write(write) => writes.push(write),
                    other => {
                        self.write(&mut writes);
                        self.do_other(other);
                    }
                }
                if writes.len() < AT_ONCE {
                    next = work.try_recv().ok();
                }
            }
            self.write(&mut writes);
        }
    }

    /// Waits for work, and carries something over meanwhile.
    fn next(&mut self, work: &Receiver<Work>) -> Result<Work, RecvError> {
        while self.can_salvage() {
            match work.try_recv() {
                Err(TryRecvError::Empty) => self.go_on_with_salvage(false),
                Err(TryRecvError::Disconnected) => return Err(RecvError),
                Ok(first) => return Ok(first),
            }
        }
        work.recv()
    }

    fn can_salvage(&self) -> bool {
        let is_left = self.salvage.is_some() || !self.store.aside.is_empty();
        let waits = self.salvage_waits
            || self.now.is_none() && self.salvage.as_ref().is_some_and(Salvage::needs_time);
        is_left && !waits && self.store.is_lasting()
    }

    fn go_on_with_salvage(&mut self, stay_open: bool) {
        let file = self.salvage.take();
        let file = file.or_else(|| self.store.aside.first().cloned().map(Salvage::of));
        let Some(mut file) = file else {
            return;
        };
        let done = self.store.look_after_file();
        match done.and_then(|()| file.step(&mut self.store, stay_open, self.now)) {
            Ok(true) => self.salvage = Some(file),
            Ok(false) => self.end_salvage(&file),
            Err(error) => {
                // Until the next minute.
                self.salvage_waits = true;
                self.salvage = Some(file);
                self.note_failure(error, 0);
            }
        }
        self.note_mishap();
    }

    fn end_salvage(&mut self, file: &Salvage) {
        let path = file.path();
        self.store.aside.retain(|aside| aside != path);
        if let Err(error) = self.store.attempt(|db| salvage::forget(db, path)) {
            self.note_failure(error, 0);
        }
        // It is not overlooked if the file in use broke meanwhile.
        self.note_mishap();
        self.store.mishap = Some(file.told());
    }

    fn do_other(&mut self, work: Work) {
        match work {
            Work::Tidy(now, retention) => self.tidy(now, &retention),
            Work::Ask(question) => {
                question(&mut self.store);
                self.note_mishap();
            }
            Work::Write(_) => {}
        }
    }

    /// Writes all of it in one transaction.
    fn write(&mut self, writes: &mut Vec<Write>) {
        if writes.is_empty() {
            return;
        }
        let done = self.store.look_after_file().and_then(|()| {
            self.store.change(|db| {
                for write in &*writes {
                    match write {
                        Write::Record(record) => put(db, record)?,
                        Write::Minute(minute) => write_minute(db, minute)?,
                        Write::Order(entry) => note_order(db, entry)?,
                    }
                }
                Ok(())
            })
        });
        for write in writes.iter() {
            if let Write::Minute(minute) = write {
                if minute.at < self.last_minute {
                    self.late = Some(self.late.map_or(minute.at, |late| late.min(minute.at)));
                }
                self.last_minute = self.last_minute.max(minute.at);
            }
        }
        match done {
            // In memory it is written, and not on record.
            Ok(()) if self.store.is_lasting() => lock(&self.health).failure = None,
            Ok(()) => {}
            Err(error) => self.note_failure(error, writes.len() as u64),
        }
        writes.clear();
        self.note_mishap();
    }

    fn tidy(&mut self, now: Timestamp, retention: &Retention) {
        self.now = Some(now);
        self.salvage_waits = false;
        let is_due = self
            .verified
            .is_none_or(|last| now.duration_since(last).abs() >= VERIFIED_EVERY);
        if is_due {
            self.verified = Some(now);
            if let Err(error) = self.store.verify() {
                self.note_failure(error, 0);
            }
        }
        let done = self.store.tidy(now, self.late.take(), retention);
        let shortened = done.as_ref().ok().copied().flatten();
        if shortened.is_some() {
            lock(&self.health).shortened = shortened;
        }
        // That there was nothing to clear away does not mean that the disk takes anything again.
        if let Err(error) = done {
            self.note_failure(error, 0);
        }
        self.note_mishap();
    }

    fn note_failure(&self, error: StoreError, lost: u64) {
        let mut health = lock(&self.health);
        health.lost += lost;
        health.failure = Some(format!("{:#}", anyhow::Error::from(error)));
    }

    fn note_mishap(&mut self) {
        lock(&self.health).replaced = self.store.replaced;
        if let Some(mishap) = self.store.mishap.take() {
            tracing::error!("{mishap}");
            lock(&self.health).mishap = Some(mishap);
        }
    }
}
