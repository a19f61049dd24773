use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::identity::link_messages::LinkKind;

fn veth(ifindex: u32, peer: u32, peer_nsid: Option<i32>) -> Link {
    Link {
        ifindex,
        name: format!("veth{ifindex}"),
        kind: LinkKind::Veth,
        peer_ifindex: Some(peer),
        peer_nsid,
        has_ethernet: true,
    }
}

fn up(link: &Link) -> LinkEvent {
    LinkEvent::Up(link.clone())
}

fn apply(table: &mut LinkTable, messages: &[Message]) -> Vec<LinkEvent> {
    for message in messages {
        table.apply(message.clone()).unwrap();
    }
    std::mem::take(&mut table.events)
}

fn done(sequence: u32) -> Message {
    Message::DumpDone { sequence, errno: 0 }
}

/// A table that knows these interfaces.
fn synced(links: &[Link]) -> LinkTable {
    let mut table = LinkTable::default();
    table.resync();
    let messages: Vec<_> = links.iter().cloned().map(Message::Link).collect();
    apply(&mut table, &messages);
    let events = apply(&mut table, &[done(1)]);
    assert_eq!(events, [LinkEvent::AddressesChanged, LinkEvent::Synced]);
    table.queries.clear();
    table
}

#[test]
fn changes_are_reported_once() {
    let first = veth(7, 2, Some(0));
    let mut table = synced(std::slice::from_ref(&first));
    assert_eq!(apply(&mut table, &[Message::Link(first.clone())]), []);
    let renamed = Link {
        name: "eth9".to_owned(),
        ..first
    };
    assert_eq!(
        apply(&mut table, &[Message::Link(renamed.clone())]),
        [up(&renamed)]
    );
    let gone = [
        Message::LinkGone { ifindex: 7 },
        Message::LinkGone { ifindex: 7 },
    ];
    assert_eq!(apply(&mut table, &gone), [LinkEvent::Gone { ifindex: 7 }]);
}

#[test]
fn an_interface_that_vanishes_during_the_dump_is_gone() {
    let mut table = LinkTable::default();
    table.resync();
    assert_eq!(table.queries, [Query::Dump { sequence: 1 }]);
    let link = veth(7, 2, Some(0));
    let messages = [
        Message::Link(link.clone()),
        Message::LinkGone { ifindex: 7 },
        done(1),
    ];
    assert_eq!(
        apply(&mut table, &messages),
        [
            up(&link),
            LinkEvent::Gone { ifindex: 7 },
            LinkEvent::AddressesChanged,
            LinkEvent::Synced
        ]
    );
}

#[test]
fn after_a_loss_everything_is_reported_anew() {
    let (stays, goes) = (veth(7, 2, Some(0)), veth(8, 2, Some(1)));
    let mut table = synced(&[stays.clone(), goes]);
    table.resync();
    assert_eq!(table.queries, [Query::Dump { sequence: 2 }]);
    let messages = [Message::Link(stays.clone()), done(2)];
    assert_eq!(
        apply(&mut table, &messages),
        [
            up(&stays),
            LinkEvent::Gone { ifindex: 8 },
            LinkEvent::AddressesChanged,
            LinkEvent::Synced
        ]
    );
}

#[test]
fn an_interrupted_dump_is_asked_again_before_anything_is_called_gone() {
    let link = veth(7, 2, Some(0));
    let mut table = synced(std::slice::from_ref(&link));
    table.resync();
    table.resync();
    let interrupted = [Message::DumpInterrupted { sequence: 2 }, done(2)];
    assert_eq!(apply(&mut table, &interrupted), []);
    assert_eq!(
        table.queries,
        [Query::Dump { sequence: 2 }, Query::Dump { sequence: 3 }]
    );
    let stale = [Message::DumpInterrupted { sequence: 2 }, done(2)];
    assert_eq!(apply(&mut table, &stale), []);
    let events = apply(&mut table, &[Message::Link(link.clone()), done(3)]);
    assert_eq!(
        events,
        [up(&link), LinkEvent::AddressesChanged, LinkEvent::Synced]
    );
}

#[test]
fn when_a_peer_moves_the_other_end_is_asked_about() {
    let mut table = synced(&[veth(7, 8, None), veth(8, 7, None), veth(9, 8, Some(3))]);
    apply(&mut table, &[Message::LinkGone { ifindex: 8 }]);
    assert_eq!(table.queries, [Query::Link { ifindex: 7 }]);
    table.queries.clear();

    let away = veth(7, 8, Some(0));
    assert_eq!(
        apply(&mut table, &[Message::Link(away.clone())]),
        [up(&away)]
    );
    assert_eq!(table.queries, []);

    apply(&mut table, &[Message::Link(veth(8, 7, None))]);
    assert_eq!(table.queries, [Query::Link { ifindex: 7 }]);
}

#[test]
fn a_failed_dump_is_an_error_but_a_failed_query_is_not() {
    let mut table = LinkTable::default();
    table.resync();
    let error = |sequence| Message::Error {
        sequence,
        errno: 16,
    };
    assert_eq!(table.apply(error(0)), Ok(()));
    assert_eq!(table.apply(error(1)), Err(DumpFailed { errno: 16 }));
    let failed = Message::DumpDone {
        sequence: 1,
        errno: 12,
    };
    assert_eq!(table.apply(failed), Err(DumpFailed { errno: 12 }));
}

/// An interface appears or moves its peer (to that namespace), or vanishes.
type Change = (u32, Option<i32>);

fn change() -> impl Strategy<Value = Change> {
    (1..6u32, proptest::option::of(0..3i32))
}

/// The kernel's side, and what a listener makes of the events.
#[derive(Default)]
struct World {
    kernel: BTreeMap<u32, Link>,
    listener: BTreeMap<u32, Link>,
    table: LinkTable,
}

impl World {
    fn make(&mut self, (ifindex, nsid): Change) -> Message {
        match nsid {
            Some(nsid) => {
                let link = veth(ifindex, 100 + ifindex, Some(nsid));
                self.kernel.insert(ifindex, link.clone());
                Message::Link(link)
            }
            None => {
                self.kernel.remove(&ifindex);
                Message::LinkGone { ifindex }
            }
        }
    }

    fn tell(&mut self, message: Message) {
        for event in apply(&mut self.table, &[message]) {
            match event {
                LinkEvent::Up(link) => drop(self.listener.insert(link.ifindex, link)),
                LinkEvent::Gone { ifindex } => drop(self.listener.remove(&ifindex)),
                LinkEvent::AddressesChanged | LinkEvent::Synced => {}
            }
        }
    }

    fn dump(&mut self, indices: std::ops::Range<u32>) {
        let links: Vec<Link> = self
            .kernel
            .range(indices)
            .map(|(_, link)| link.clone())
            .collect();
        for link in links {
            self.tell(Message::Link(link));
        }
    }
}

proptest! {
    /// Changes are lost, then everything is listed anew while more changes happen.
    #[test]
    fn a_listener_ends_up_with_what_the_kernel_has(
        rounds in vec((vec(change(), 0..6), vec(change(), 0..6), vec(change(), 0..3), 0..7u32), 1..4)
    ) {
        let mut world = World::default();
        for (heard, lost, meanwhile, middle) in rounds {
            for change in heard {
                let message = world.make(change);
                world.tell(message);
            }
            for change in lost {
                world.make(change);
            }
            world.table.resync();
            world.dump(0..middle);
            for change in meanwhile {
                let message = world.make(change);
                world.tell(message);
            }
            world.dump(middle..u32::MAX);
            world.tell(done(world.table.sequence));
            prop_assert_eq!(&world.listener, &world.kernel);
        }
    }
}
