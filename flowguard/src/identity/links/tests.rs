use std::{collections::HashMap, time::Duration};

use super::*;
use crate::identity::testing::{TestLinks, TestNetns, index, on_a_host};

const DEADLINE: Duration = Duration::from_secs(20);

struct Listener(mpsc::Receiver<LinkEvent>);

impl Listener {
    fn new(watch: LinkWatch) -> Self {
        let (sender, events) = mpsc::channel(1);
        tokio::spawn(watch.run(sender));
        Self(events)
    }

    /// One that knows what exists.
    async fn synced() -> Self {
        let mut listener = Self::new(LinkWatch::open().unwrap());
        listener.until(|event| *event == LinkEvent::Synced).await;
        listener
    }

    async fn next(&mut self) -> LinkEvent {
        tokio::time::timeout(DEADLINE, self.0.recv())
            .await
            .expect("no event in time")
            .expect("the watch ended")
    }

    async fn until(&mut self, mut stop: impl FnMut(&LinkEvent) -> bool) -> LinkEvent {
        loop {
            let event = self.next().await;
            if stop(&event) {
                return event;
            }
        }
    }

    async fn up(&mut self, name: &str) -> Link {
        let named = |event: &LinkEvent| matches!(event, LinkEvent::Up(link) if link.name == name);
        match self.until(named).await {
            LinkEvent::Up(link) => link,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_exists_is_reported_first() {
    on_a_host(|| async {
        let ifindex = TestLinks::new().veth("old", "peer").await;
        let mut listener = Listener::new(LinkWatch::open().unwrap());
        let link = listener.up("old").await;
        let expected = Link {
            ifindex,
            name: "old".to_owned(),
            kind: LinkKind::Veth,
            peer_ifindex: Some(index("peer")),
            peer_nsid: None,
            has_ethernet: true,
        };
        assert_eq!(link, expected);
        listener.until(|event| *event == LinkEvent::Synced).await;
    });
}

#[test]
fn a_veth_is_followed_from_its_making_to_its_end() {
    on_a_host(|| async {
        let links = TestLinks::new();
        let container = TestNetns::new();
        let mut listener = Listener::synced().await;

        let ifindex = links.veth("host", "peer").await;
        let here = listener.up("host").await;
        assert_eq!((here.ifindex, here.peer_nsid), (ifindex, None));

        links.give("peer", &container).await;
        let away = listener.up("host").await;
        assert!(away.peer_nsid.is_some(), "{away:?}");
        assert_eq!(away.ifindex, ifindex);
        assert_eq!(away.peer_ifindex, Some(container.run(|| index("peer"))));

        links.rename("host", "renamed").await;
        let renamed = listener.up("renamed").await;
        assert_eq!(
            renamed,
            Link {
                name: "renamed".to_owned(),
                ..away
            }
        );

        links.delete("renamed").await;
        let gone = LinkEvent::Gone { ifindex };
        listener.until(|event| *event == gone).await;
    });
}

#[test]
fn a_veth_made_inside_a_container_is_seen_when_its_end_arrives() {
    on_a_host(|| async {
        let host = TestNetns::current();
        let mut listener = Listener::synced().await;
        let container = TestNetns::new();
        container.run_async(async || {
            let links = TestLinks::new();
            links.veth("inside", "outside").await;
            links.give("outside", &host).await;
        });
        let link = listener.up("outside").await;
        assert!(link.peer_nsid.is_some(), "{link:?}");
    });
}

#[test]
fn loopback_has_no_ethernet_and_no_peer() {
    on_a_host(|| async {
        let mut listener = Listener::new(LinkWatch::open().unwrap());
        let lo = listener.up("lo").await;
        let expected = Link {
            ifindex: 1,
            name: "lo".to_owned(),
            kind: LinkKind::Other,
            peer_ifindex: None,
            peer_nsid: None,
            has_ethernet: false,
        };
        assert_eq!(lo, expected);
    });
}

#[test]
fn lost_messages_are_made_up_for() {
    on_a_host(|| async {
        let links = TestLinks::new();
        let doomed = links.veth("doomed", "doomed-peer").await;
        links.veth("old", "peer").await;
        let mut listener = Listener::synced().await;
        let mut names = HashMap::from([(doomed, "doomed".to_owned())]);

        // The watching task runs meanwhile, but is held up by a listener that does not listen.
        let mut name = "old".to_owned();
        for round in 0..2000 {
            let next = format!("new{round}");
            links.rename(&name, &next).await;
            name = next;
        }
        links.delete("doomed").await;

        listener
            .until(|event| {
                match event {
                    LinkEvent::Up(link) => names.insert(link.ifindex, link.name.clone()),
                    LinkEvent::Gone { ifindex } => names.remove(ifindex),
                    _ => None,
                };
                *event == LinkEvent::Synced
            })
            .await;
        assert_eq!(names.get(&index(&name)), Some(&name));
        assert_eq!(names.get(&doomed), None);
    });
}

#[test]
fn a_new_address_is_noticed() {
    on_a_host(|| async {
        let links = TestLinks::new();
        let mut listener = Listener::synced().await;
        assert_eq!(local_addresses().unwrap(), Vec::<IpAddr>::new());
        for (name, address) in [("lo", "192.0.2.7"), ("lo", "2001:db8::7")] {
            links.add_address(name, address).await;
            listener
                .until(|event| *event == LinkEvent::AddressesChanged)
                .await;
            let address: IpAddr = address.parse().unwrap();
            assert!(local_addresses().unwrap().contains(&address));
        }
    });
}

#[test]
fn the_watch_ends_when_nobody_listens() {
    on_a_host(|| async {
        let (sender, receiver) = mpsc::channel(8);
        let running = tokio::spawn(LinkWatch::open().unwrap().run(sender));
        drop(receiver);
        let ended = tokio::time::timeout(DEADLINE, running).await.unwrap();
        ended.unwrap().unwrap();
    });
}
