//! How many connections there may be at a time, and whose.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections of root at a time.
pub(super) const ROOT: usize = 64;
/// Connections of everybody else together at a time.
pub(super) const READERS: usize = 48;
/// Of these, connections of one user: a monitoring script gone wild leaves room for others.
pub(super) const PER_READER: usize = 12;

/// The places there are, and who has taken some.
#[derive(Debug)]
pub(super) struct Places {
    root: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    by_uid: HashMap<u32, Arc<Semaphore>>,
}

/// A place, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _in_all: OwnedSemaphorePermit,
    _of_uid: Option<OwnedSemaphorePermit>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            root: Arc::new(Semaphore::new(ROOT)),
            readers: Arc::new(Semaphore::new(READERS)),
            by_uid: HashMap::new(),
        }
    }

    /// A place for a connection of this user; none: too many are taken.
    pub(super) fn take(&mut self, uid: u32) -> Option<Place> {
        if uid == 0 {
            return Some(Place {
                _in_all: Arc::clone(&self.root).try_acquire_owned().ok()?,
                _of_uid: None,
            });
        }
        // A place that is taken holds its user's semaphore.
        self.by_uid.retain(|_, own| Arc::strong_count(own) > 1);
        let own = self
            .by_uid
            .entry(uid)
            .or_insert_with(|| Arc::new(Semaphore::new(PER_READER)));
        let own = Arc::clone(own).try_acquire_owned().ok()?;
        Some(Place {
            _in_all: Arc::clone(&self.readers).try_acquire_owned().ok()?,
            _of_uid: Some(own),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &mut Places, uid: u32, count: usize) -> Vec<Place> {
        (0..count).map_while(|_| places.take(uid)).collect()
    }

    #[test]
    fn nobody_takes_all_places() {
        let mut places = Places::new();
        let greedy = take(&mut places, 1_001, READERS);
        assert_eq!(greedy.len(), PER_READER);
        assert!(places.take(1_002).is_some());
        drop(greedy);
        assert_eq!(take(&mut places, 1_001, READERS).len(), PER_READER);
        assert_eq!(places.by_uid.len(), 1, "who left is forgotten");
    }

    #[test]
    fn readers_together_leave_roots_places_alone() {
        let mut places = Places::new();
        let held: Vec<_> = (1..=READERS as u32)
            .flat_map(|uid| take(&mut places, uid, PER_READER))
            .collect();
        assert_eq!(held.len(), READERS);
        assert!(places.take(9_999).is_none());
        assert_eq!(take(&mut places, 0, READERS + ROOT).len(), ROOT);
    }
}
