//! Which network interfaces there are, kept from messages: pure.
//!
//! Notifications and the answers to a dump arrive over one socket, in the order in which the
//! kernel made them, so the last message about an interface is the truth, and an interface that a
//! complete dump did not mention is gone.

use std::collections::{HashMap, HashSet};

use super::link_messages::{Link, Message};

/// What happened to the host's network interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// An interface exists; the first report of it, or it changed its name or its peer's place.
    /// After messages were lost everything is reported anew, since an interface may have been
    /// replaced by another with the same index.
    Up(Link),
    /// The interface was removed, or moved to another network namespace.
    Gone {
        /// Its index.
        ifindex: u32,
    },
    /// The host's addresses may have changed: ask [`super::links::local_addresses`].
    AddressesChanged,
    /// All interfaces that existed when the watch began, or after messages were lost, are reported.
    Synced,
}

/// What to ask the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Query {
    /// All interfaces; answers carry this sequence number.
    Dump { sequence: u32 },
    /// One interface.
    Link { ifindex: u32 },
}

/// The kernel refused to list its interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DumpFailed {
    pub(super) errno: i32,
}

#[derive(Debug, Default)]
pub(super) struct LinkTable {
    known: HashMap<u32, Link>,
    dump: Option<Dump>,
    sequence: u32,
    /// To be reported, in order.
    pub(super) events: Vec<LinkEvent>,
    /// To be asked, in order.
    pub(super) queries: Vec<Query>,
}

#[derive(Debug)]
struct Dump {
    seen: HashSet<u32>,
    /// It is not the last: something was lost, or changed in its midst.
    again: bool,
}

impl LinkTable {
    /// Messages were lost, or none has been received yet: everything is asked anew.
    pub(super) fn resync(&mut self) {
        match &mut self.dump {
            // The kernel refuses a second dump on one socket while the first runs.
            Some(dump) => dump.again = true,
            None => self.start_dump(),
        }
    }

    fn start_dump(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
        self.dump = Some(Dump {
            seen: HashSet::new(),
            again: false,
        });
        let sequence = self.sequence;
        self.queries.push(Query::Dump { sequence });
    }

    /// Takes a message in.
    pub(super) fn apply(&mut self, message: Message) -> Result<(), DumpFailed> {
        match message {
            Message::Link(link) => self.up(link),
            Message::LinkGone { ifindex } => self.gone(ifindex),
            Message::Address => self.events.push(LinkEvent::AddressesChanged),
            Message::DumpInterrupted { sequence } if sequence == self.sequence => self.resync(),
            Message::DumpDone { sequence, errno } if sequence == self.sequence => {
                if errno != 0 {
                    return Err(DumpFailed { errno });
                }
                self.dump_done();
            }
            Message::Error { sequence, errno } if sequence == self.sequence && errno != 0 => {
                return Err(DumpFailed { errno });
            }
            // Answers to queries about interfaces that have gone.
            Message::DumpInterrupted { .. } | Message::DumpDone { .. } | Message::Error { .. } => {}
        }
        Ok(())
    }

    fn up(&mut self, link: Link) {
        // The kernel does not report that a veth's other end moved between namespaces, but that
        // end is seen to come and go here.
        if link.peer_nsid.is_none()
            && let Some(peer) = link.peer_ifindex
            && let Some(known) = self.known.get(&peer)
            && known.peer_nsid.is_some()
        {
            self.queries.push(Query::Link { ifindex: peer });
        }
        let first_in_dump = self
            .dump
            .as_mut()
            .is_some_and(|dump| dump.seen.insert(link.ifindex));
        let before = self.known.insert(link.ifindex, link.clone());
        if first_in_dump || before.as_ref() != Some(&link) {
            self.events.push(LinkEvent::Up(link));
        }
    }

    fn gone(&mut self, ifindex: u32) {
        let lost_peer =
            |link: &&Link| link.peer_ifindex == Some(ifindex) && link.peer_nsid.is_none();
        let alone = self.known.values().find(lost_peer);
        self.queries.extend(alone.map(|link| Query::Link {
            ifindex: link.ifindex,
        }));
        if self.known.remove(&ifindex).is_some() {
            self.events.push(LinkEvent::Gone { ifindex });
        }
    }

    fn dump_done(&mut self) {
        let Some(dump) = self.dump.take() else {
            return;
        };
        if dump.again {
            self.start_dump();
            return;
        }
        let mut missing: Vec<u32> = self.known.keys().copied().collect();
        missing.retain(|ifindex| !dump.seen.contains(ifindex));
        missing.sort_unstable();
        for ifindex in missing {
            self.gone(ifindex);
        }
        self.events.push(LinkEvent::AddressesChanged);
        self.events.push(LinkEvent::Synced);
    }
}

#[cfg(test)]
mod tests;
