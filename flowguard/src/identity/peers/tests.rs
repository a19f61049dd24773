use std::{process::Command, time::Duration};

use super::*;
use crate::identity::{
    links::LinkKind,
    netns::own_cookie,
    testing::{TestCgroup, TestLinks, TestNetns, on_a_host},
};

const DEADLINE: Duration = Duration::from_secs(20);

/// A pair with one end in the container; the host's end.
async fn veth_into(container: &TestNetns) -> Link {
    let links = TestLinks::new();
    let ifindex = links.veth("host", "peer").await;
    links.give("peer", container).await;
    let nsid = NsidLookup::open().unwrap().nsid(container.file()).unwrap();
    Link {
        ifindex,
        name: "host".to_owned(),
        kind: LinkKind::Veth,
        peer_ifindex: Some(2),
        peer_nsid: Some(nsid.expect("the kernel numbers a namespace when a veth leads there")),
        has_ethernet: true,
    }
}

fn inode(netns: &TestNetns) -> u64 {
    netns.file().metadata().unwrap().ino()
}

fn sleep() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000");
    command
}

#[test]
fn a_named_namespace_is_found_without_processes() {
    on_a_host(|| async {
        let container = TestNetns::named();
        let edge = veth_into(&container).await;
        let peers = find_peers(std::slice::from_ref(&edge)).unwrap();
        let expected = Peer {
            netns_inode: inode(&container),
            cookie: container.run(|| own_cookie().unwrap()),
            cgroups: Vec::new(),
            vm: None,
        };
        assert!(expected.cookie.is_some());
        assert_eq!(peers, HashMap::from([(edge.ifindex, expected)]));
    });
}

#[test]
fn the_processes_in_a_namespace_tell_its_cgroups() {
    on_a_host(|| async {
        let top = TestCgroup::new();
        let container = TestNetns::new();
        let edge = veth_into(&container).await;
        // It is a thread's network namespace that a new process inherits.
        let _processes =
            container.run(|| ["a", "b", "a"].map(|below| top.spawn(below, &mut sleep())));
        let _elsewhere = top.spawn("elsewhere", &mut sleep());

        let mut peers = find_peers(std::slice::from_ref(&edge)).unwrap();
        for peer in peers.values_mut() {
            // Process ids start over from time to time.
            peer.cgroups.sort();
        }
        let expected = Peer {
            netns_inode: inode(&container),
            cookie: container.run(|| own_cookie().unwrap()),
            cgroups: vec![format!("{}/a", top.path()), format!("{}/b", top.path())],
            vm: None,
        };
        assert_eq!(peers, HashMap::from([(edge.ifindex, expected)]));
    });
}

#[test]
fn what_cannot_be_found_is_missing() {
    on_a_host(|| async {
        let hidden = TestNetns::new();
        let edge = veth_into(&hidden).await;
        let here = Link {
            peer_nsid: None,
            ..edge.clone()
        };
        assert_eq!(find_peers(&[edge, here]).unwrap(), HashMap::new());
    });
}

#[test]
fn the_number_of_cgroups_is_bounded() {
    on_a_host(|| async {
        let top = TestCgroup::new();
        let container = TestNetns::new();
        let edge = veth_into(&container).await;
        let _processes = container.run(|| {
            let spawn = |n: usize| top.spawn(&n.to_string(), &mut sleep());
            (0..=MAX_CGROUPS).map(spawn).collect::<Vec<_>>()
        });
        let peers = find_peers(std::slice::from_ref(&edge)).unwrap();
        assert_eq!(peers[&edge.ifindex].cgroups.len(), MAX_CGROUPS);
    });
}

#[test]
fn edges_that_come_together_are_looked_up_together() {
    on_a_host(|| async {
        let container = TestNetns::named();
        let first = veth_into(&container).await;
        let second = Link {
            ifindex: 4711,
            ..first.clone()
        };
        let (edges, asked) = mpsc::channel(8);
        for edge in [&first, &second] {
            edges.send(edge.clone()).await.unwrap();
        }
        let (found, mut answers) = mpsc::channel(8);
        let running = tokio::spawn(resolve_peers(asked, found, find_peers));
        let answer = tokio::time::timeout(DEADLINE, answers.recv()).await;
        let answer = answer.unwrap().unwrap();
        assert_eq!(answer.edges, [first.clone(), second.clone()]);
        let peers = answer.peers.unwrap();
        assert_eq!(peers[&first.ifindex].netns_inode, inode(&container));
        assert_eq!(peers[&first.ifindex], peers[&second.ifindex]);
        drop(edges);
        tokio::time::timeout(DEADLINE, running)
            .await
            .unwrap()
            .unwrap();
    });
}

#[test]
fn only_a_network_namespace_has_such_a_name() {
    assert_eq!(inode_in(Path::new("net:[4026531840]")), Some(4_026_531_840));
    for odd in [
        "mnt:[4026531840]",
        "net:[]",
        "net:[x]",
        "net:4026531840",
        "",
    ] {
        assert_eq!(inode_in(Path::new(odd)), None, "{odd}");
    }
}
