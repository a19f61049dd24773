//! The thread that owns the database while the daemon runs.
//!
//! A disk may take seconds for what is usually done in a millisecond, and the daemon's one task
//! must not wait for it. It hands over what is to be written and goes on; a queue that is full
//! drops what comes, counts it, and `status` says so.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{Minute, Retention, Shortened, Store, StoreError, desk::Desk};
use crate::control::api::{AuditEntry, VerdictRecord};

/// Things that may wait to be written. Of records, some kilobytes each, this is some megabytes.
const QUEUE: usize = 4_096;

/// How the database is, for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What could not be written last, until something can.
    pub failure: Option<String>,
    /// What became of a damaged or missing file, for as long as the daemon runs.
    pub mishap: Option<String>,
    /// History was cut short for its size.
    pub shortened: Option<Shortened>,
    /// Things that were not written, since the daemon started.
    pub lost: u64,
    /// How often another file took the place of the one that was in use.
    pub replaced: u64,
}

/// Something to write.
#[derive(Debug)]
pub(super) enum Write {
    Record(Box<VerdictRecord>),
    Minute(Minute),
    Order(AuditEntry),
}

/// What is handed over.
pub(super) enum Work {
    Write(Write),
    Tidy(Timestamp, Retention),
    Ask(Box<dyn FnOnce(&mut Store) + Send>),
}

/// A handle on the thread. When it is dropped, what waits is written first.
#[derive(Debug)]
pub struct Keeper {
    queue: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
    health: Arc<Mutex<Health>>,
    next_record: u64,
}

impl Keeper {
    /// Gives the database to a thread. Records that are made from now on are numbered from
    /// `next_record`. If verdicts are in force already, those that are carried over from a damaged
    /// database may be theirs, and stay open; otherwise they are closed, since nobody knows how they
    /// ended.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn start(store: Store, next_record: u64, in_force: bool) -> std::io::Result<Self> {
        let (queue, work) = sync_channel(QUEUE);
        let health = Arc::new(Mutex::new(Health::default()));
        let shared = Arc::clone(&health);
        let thread = thread::Builder::new()
            .name("database".to_owned())
            .spawn(move || Desk::new(store, shared).run(&work, in_force))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
            health,
            next_record,
        })
    }

    /// Gives a record its number and has it written.
    pub fn add(&mut self, record: &mut VerdictRecord) {
        record.record = self.next_record;
        self.next_record = self.next_record.saturating_add(1);
        self.update(record);
    }

    /// Has a newer state of a record written.
    pub fn update(&self, record: &VerdictRecord) {
        self.hand_over(Work::Write(Write::Record(Box::new(record.clone()))));
    }

    /// Has written what was done within a minute, and clears away what is too old.
    pub fn note_minute(&self, minute: Option<Minute>, now: Timestamp, retention: Retention) {
        if let Some(minute) = minute {
            self.hand_over(Work::Write(Write::Minute(minute)));
        }
        self.hand_over(Work::Tidy(now, retention));
    }

    /// Has an order noted.
    pub fn note_order(&self, entry: AuditEntry) {
        self.hand_over(Work::Write(Write::Order(entry)));
    }

    /// Asks the database, once everything handed over so far is written. The answer does not come
    /// if the queue is full.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        self.hand_over(Work::Ask(Box::new(move |store| {
            // Whoever asked may be gone.
            drop(reply.send(question(store)));
        })));
        answer
    }

    /// Asks and waits: for a daemon that starts and has nothing else to do.
    ///
    /// # Errors
    ///
    /// As of the question; or the thread is gone.
    pub fn ask_now<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = sync_channel(1);
        self.hand_over(Work::Ask(Box::new(move |store| {
            drop(reply.send(question(store)));
        })));
        answer
            .recv()
            .unwrap_or(Err(StoreError::Busy { waiting: QUEUE }))
    }

    /// How the database is.
    pub fn health(&self) -> Health {
        lock(&self.health).clone()
    }

    fn hand_over(&self, work: Work) {
        let Some(queue) = &self.queue else {
            return;
        };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(work) {
            lock(&self.health).lost += 1;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the database had failed");
        }
    }
}

pub(super) fn lock(health: &Mutex<Health>) -> MutexGuard<'_, Health> {
    health.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn what_was_handed_over_is_there_for_the_next_question() {
        let mut keeper = Keeper::start(Store::in_memory().unwrap(), 7, false).unwrap();
        let mut record = testing::record(0, "user:a");
        keeper.add(&mut record);
        assert_eq!(record.record, 7);
        keeper.note_order(testing::order("user:a"));
        let read = keeper.ask(|store| store.get(7)).blocking_recv().unwrap();
        assert_eq!(read.unwrap(), Some(record));
        let orders = keeper.ask_now(|store| store.orders(9)).unwrap();
        assert_eq!(orders.len(), 1);
        assert_eq!(keeper.health(), Health::default());
    }

    #[test]
    fn what_waits_is_written_before_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut keeper = Keeper::start(Store::open(&path).unwrap().0, 1, false).unwrap();
        for _ in 0..2_000 {
            keeper.add(&mut testing::record(0, "user:a"));
        }
        drop(keeper);
        assert_eq!(Store::open(&path).unwrap().0.last_number().unwrap(), 2_000);
    }

    #[test]
    fn a_queue_that_is_full_drops_and_counts_and_never_waits() {
        let keeper = Keeper::start(Store::in_memory().unwrap(), 1, false).unwrap();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let (begun, begins) = std::sync::mpsc::channel::<()>();
        let held = keeper.ask(move |_| begun.send(()).is_ok() && wait.recv().is_ok());
        begins.recv().unwrap();
        for _ in 0..QUEUE + 100 {
            keeper.note_order(testing::order("user:a"));
        }
        assert_eq!(keeper.health().lost, 100);
        go_on.send(()).unwrap();
        assert!(held.blocking_recv().unwrap());
    }
}
