//! Reading the event ring.

use std::{collections::VecDeque, mem::offset_of};

use aya::maps::{MapData, RingBuf};
use flowguard_common::{
    event::{Event, ReplyEvent},
    names::MAP_EVENTS,
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{KernelError, generation::Generation, raw::value_of};

/// The one reader of the event ring.
pub struct EventReader {
    ring: AsyncFd<RingBuf<MapData>>,
    /// What was left in a ring that this one replaced.
    left: VecDeque<Record>,
}

impl EventReader {
    /// Opens the ring.
    ///
    /// # Errors
    ///
    /// It is not there, or cannot be polled.
    pub(super) fn open(maps: &Generation, left: VecDeque<Record>) -> Result<Self, KernelError> {
        let ring = maps.open(MAP_EVENTS)?;
        // SAFETY: the ring owns its descriptor, which stays the same until the ring is dropped.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        let ring = ring.map_err(|source| KernelError::File {
            action: "poll",
            path: maps.path(MAP_EVENTS),
            source: source.into(),
        })?;
        Ok(Self { ring, left })
    }

    /// Takes at most `most` of the events that are there.
    pub fn ready(&mut self, most: usize) -> Vec<Record> {
        let ring = self.ring.get_mut();
        let mut events = left(&mut self.left, most);
        while events.len() < most {
            let Some(item) = ring.next() else {
                break;
            };
            events.extend(decode(&item));
        }
        events
    }

    /// Waits for events and takes at most `most` of them. Cancel safe: an event is taken only
    /// when it is returned.
    ///
    /// # Errors
    ///
    /// The ring cannot be polled.
    pub async fn next(&mut self, most: usize) -> std::io::Result<Vec<Record>> {
        let left = left(&mut self.left, most);
        if !left.is_empty() {
            return Ok(left);
        }
        loop {
            let mut guard = self.ring.readable_mut().await?;
            let ring = guard.get_inner_mut();
            let mut events = Vec::new();
            while events.len() < most {
                let Some(item) = ring.next() else {
                    guard.clear_ready();
                    break;
                };
                events.extend(decode(&item));
            }
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

fn left(left: &mut VecDeque<Record>, most: usize) -> Vec<Record> {
    left.drain(..most.min(left.len())).collect()
}

/// What nobody has read yet in a ring that no program writes to any more.
pub(super) fn drain(maps: &Generation) -> Result<Vec<Record>, KernelError> {
    let mut ring: RingBuf<MapData> = maps.open(MAP_EVENTS)?;
    let mut events = Vec::new();
    while let Some(item) = ring.next() {
        events.extend(decode(&item));
    }
    Ok(events)
}

/// What the programs tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// An attempt.
    Attempt(Event),
    /// A mail server said no.
    Reply(Box<ReplyEvent>),
}

/// Bytes of the shortest reply there ever was; it has grown at its end.
const SHORTEST_REPLY: usize = offset_of!(ReplyEvent, client);

/// A record, told by its size. Programs of another version may have written it.
fn decode(bytes: &[u8]) -> Option<Record> {
    if bytes.len() == size_of::<Event>() {
        Some(Record::Attempt(value_of(bytes)))
    } else if bytes.len() >= SHORTEST_REPLY {
        Some(Record::Reply(Box::new(value_of(bytes))))
    } else {
        None
    }
}

/// A task's name as text, unescaped.
pub fn comm(comm: &[u8; 16]) -> String {
    let end = comm
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(comm.len());
    String::from_utf8_lossy(&comm[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_told_by_its_size_and_a_reply_may_have_grown() {
        for (size, is_record) in [
            (87, false),
            (88, true),
            (89, false),
            (295, false),
            (296, true),
            (312, true),
            (320, true),
        ] {
            assert_eq!(decode(&vec![0; size]).is_some(), is_record, "{size}");
        }
    }

    #[test]
    fn names_end_at_the_first_nul() {
        assert_eq!(comm(b"php-fpm\0garbage\0"), "php-fpm");
        assert_eq!(comm(b"sixteen-bytes-xx"), "sixteen-bytes-xx");
        assert_eq!(comm(&[0xff; 16]).chars().next(), Some('\u{fffd}'));
    }
}
