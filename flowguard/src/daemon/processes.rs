//! Processes behind attempts are looked at before their events are taken in, while they live.
//!
//! One thread does it: `/proc` can make its reader wait, for a process whose memory is busy. Attempts
//! that find no room in its queue go on without. In what order attempts are taken in does not matter.

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use flowguard_common::event::Event;
use tokio::sync::mpsc;

use crate::identity::process::{Details, Observer};

/// Attempts that wait for the thread. It takes 0.2 ms for a process that it has not seen before, and
/// 13 µs for one that it has (measured on 6.18, without optimisation).
const QUEUE: usize = 1024;

/// How long the daemon waits for what is under way when it is about to decide something.
pub(super) const SETTLE: Duration = Duration::from_millis(50);

/// An attempt, and who made it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) event: Event,
    /// The process; none: it was gone, or nobody looked.
    pub(super) process: Option<Arc<Details>>,
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Processes {
    queue: SyncSender<Event>,
    /// Attempts that are there and have not come back.
    pub(super) under_way: usize,
    /// Processes that were seen, that were gone, and that nobody had the time for.
    pub(super) seen: u64,
    pub(super) gone: u64,
    pub(super) missed: u64,
}

impl Processes {
    /// Starts the thread; it ends when this is dropped.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start() -> std::io::Result<(Self, mpsc::Receiver<Seen>)> {
        let (queue, events) = sync_channel::<Event>(QUEUE);
        let (answers, seen) = mpsc::channel(QUEUE);
        let look = move || {
            let mut observer = Observer::default();
            for event in events {
                let process = observer.look_at(event.pid, event.time_ns);
                if answers.blocking_send(Seen { event, process }).is_err() {
                    // The daemon stops.
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("processes".to_owned())
            .spawn(look)?;
        let processes = Self {
            queue,
            under_way: 0,
            seen: 0,
            gone: 0,
            missed: 0,
        };
        Ok((processes, seen))
    }

    /// Has the process behind an attempt looked at. What is given back goes on without: packets tell
    /// no process, and the queue may be full.
    pub(super) fn look_behind(&mut self, event: &Event) -> Option<Seen> {
        let without = || Seen {
            event: *event,
            process: None,
        };
        if event.pid == 0 {
            return Some(without());
        }
        match self.queue.try_send(*event) {
            Ok(()) => {
                self.under_way += 1;
                None
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.missed += 1;
                Some(without())
            }
        }
    }

    /// One has come back.
    pub(super) fn came_back(&mut self, seen: &Seen) {
        self.under_way = self.under_way.saturating_sub(1);
        match seen.process {
            Some(_) => self.seen += 1,
            None => self.gone += 1,
        }
    }
}
