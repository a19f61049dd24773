//! Connections in the order of their time, though a log has them in another.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{End, Flow};

/// How far behind the latest a connection may stand, milliseconds.
const HORIZON: i64 = 3_600_000;

/// How many may wait. Beyond that the oldest go on: some hundred megabytes are enough.
const WAITING: usize = 2_000_000;

/// Something that happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Event {
    /// It is tried.
    Begin(Flow),
    /// It is known what came of it.
    End(Flow),
}

#[derive(Debug)]
struct Waiting {
    at: i64,
    /// What falls on one moment stays in the order of the log.
    number: u64,
    event: Event,
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
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BinaryHeap<Reverse<Waiting>>,
    number: u64,
    /// The latest beginning so far; none: there was none.
    latest: Option<i64>,
    /// The last moment that was handed out.
    done: Option<i64>,
}

impl Queue {
    /// Takes a connection; false: it is too late.
    pub(super) fn push(&mut self, flow: Flow, unanswered: i64) -> bool {
        if self.done.is_some_and(|done| flow.at < done) {
            return false;
        }
        self.latest = Some(self.latest.map_or(flow.at, |latest| latest.max(flow.at)));
        let after = match flow.end {
            End::Unanswered => unanswered,
            _ => flow.duration.unwrap_or(0),
        };
        self.add(flow.at, Event::Begin(flow));
        self.add(flow.at.saturating_add(after.max(0)), Event::End(flow));
        true
    }

    fn add(&mut self, at: i64, event: Event) {
        self.number += 1;
        self.waiting.push(Reverse(Waiting {
            at,
            number: self.number,
            event,
        }));
    }

    /// The next, if nothing that is still to come can be before it.
    pub(super) fn pop_settled(&mut self) -> Option<(i64, Event)> {
        let Reverse(next) = self.waiting.peek()?;
        let is_settled = self
            .latest
            .is_some_and(|latest| next.at < latest.saturating_sub(HORIZON));
        if is_settled || self.waiting.len() > WAITING {
            self.pop()
        } else {
            None
        }
    }

    /// The next.
    pub(super) fn pop(&mut self) -> Option<(i64, Event)> {
        let Reverse(next) = self.waiting.pop()?;
        self.done = Some(next.at);
        Some((next.at, next.event))
    }
}
