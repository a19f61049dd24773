//! Connections in the order of their time, though a log has them in another.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
};

use super::{End, Flow};

/// How far behind the latest a connection may stand, milliseconds.
const HORIZON: i64 = 3_600_000;

/// How many may wait for their beginning. Beyond that the oldest go on: a hundred megabytes are
/// enough.
const WAITING: usize = 1_000_000;

/// How many there may be with those that are open. Of more, what comes of the oldest counts when they
/// begin.
const ALL: usize = 2 * WAITING;

/// Something that happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Event {
    /// It is tried.
    Begin(Flow),
    /// It is known what came of it.
    End(Flow),
}

/// A connection that waits for its next event; there is one of these for each.
#[derive(Debug)]
struct Waiting {
    /// When the event is, milliseconds since 1970.
    at: i64,
    /// What falls on one moment stays in the order of the log.
    number: u64,
    has_begun: bool,
    flow: Flow,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Puts connections in order.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// How many of them have begun.
    open: usize,
    number: u64,
    /// After how long nobody will answer any more, milliseconds.
    unanswered: i64,
    /// The latest beginning so far; none: there was none.
    latest: Option<i64>,
    /// The last moment that was handed out.
    done: Option<i64>,
}

impl Queue {
    pub(super) fn new(unanswered: i64) -> Self {
        Self {
            waiting: BinaryHeap::new(),
            open: 0,
            number: 0,
            unanswered,
            latest: None,
            done: None,
        }
    }

    /// Takes a connection; false: it is too late.
    pub(super) fn push(&mut self, flow: Flow) -> bool {
        if self.done.is_some_and(|done| flow.at < done) {
            return false;
        }
        self.latest = Some(self.latest.map_or(flow.at, |latest| latest.max(flow.at)));
        self.number += 1;
        self.waiting.push(Reverse(Waiting {
            at: flow.at,
            number: self.number,
            has_begun: false,
            flow,
        }));
        true
    }

    /// The next, if nothing that is still to come can be before it.
    pub(super) fn pop_settled(&mut self) -> Option<(i64, Event)> {
        let Reverse(next) = self.waiting.peek()?;
        let is_settled = self
            .latest
            .is_some_and(|latest| next.at < latest.saturating_sub(HORIZON));
        let all = self.waiting.len();
        if is_settled || all - self.open > WAITING || all > ALL {
            self.pop()
        } else {
            None
        }
    }

    /// The next.
    pub(super) fn pop(&mut self) -> Option<(i64, Event)> {
        let is_full = self.waiting.len() > ALL;
        let mut next = self.waiting.peek_mut()?;
        let Reverse(Waiting {
            at,
            has_begun,
            flow,
            ..
        }) = &mut *next;
        let (now, flow) = (*at, *flow);
        self.done = Some(now);
        if *has_begun {
            PeekMut::pop(next);
            self.open -= 1;
            return Some((now, Event::End(flow)));
        }
        let after = match flow.end {
            _ if is_full => 0,
            End::Unanswered => self.unanswered,
            _ => flow.duration.unwrap_or(0),
        };
        // It takes its new place when this borrow ends.
        (*at, *has_begun) = (now.saturating_add(after.max(0)), true);
        self.open += 1;
        Some((now, Event::Begin(flow)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(at: i64, duration: i64) -> Flow {
        Flow {
            at,
            src: [192, 0, 2, 7].into(),
            dst: [198, 51, 100, 1].into(),
            dport: 25,
            end: End::Established,
            bytes: None,
            duration: Some(duration),
            is_local: None,
        }
    }

    #[test]
    fn a_connection_takes_one_place_and_its_events_come_in_order() {
        let mut queue = Queue::new(0);
        for (at, duration) in [(30, 5), (10, 100), (20, 0)] {
            assert!(queue.push(flow(at, duration)));
        }
        let mut events = Vec::new();
        let mut most = 0;
        loop {
            most = most.max(queue.waiting.len());
            let Some((at, event)) = queue.pop() else {
                break;
            };
            events.push((at, matches!(event, Event::Begin(_))));
        }
        assert_eq!(most, 3);
        let (begin, end) = (true, false);
        assert_eq!(
            events,
            [
                (10, begin),
                (20, begin),
                (20, end),
                (30, begin),
                (35, end),
                (110, end)
            ]
        );
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let mut queue = Queue::new(0);
        let bytes = |connections: usize| connections * size_of::<Waiting>();
        assert!(bytes(WAITING) < 110 << 20);
        // Nothing is settled by its time, and each is open for an hour.
        for at in 0..ALL as i64 + 500 {
            assert!(queue.push(flow(at, 3_600_000)));
            let mut last = i64::MIN;
            while let Some((at, _)) = queue.pop_settled() {
                assert!(at >= last);
                last = at;
            }
            let all = queue.waiting.len();
            assert!(all <= ALL && all - queue.open <= WAITING);
        }
    }
}
