//! Containers and VMs, seen at the host's end of their links.

use anyhow::Result;
use flowguard_tests::{
    client::ONE_RETRANSMISSION, config::Config, container::Container, feature, guard::Guard,
    lab::Lab,
};

/// The source of a container named `web`, and the end of its link.
const WEB: (&str, &str) = ("container:web", "fge0");

#[test]
fn a_containers_connections_are_counted_once() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_edge(WEB.1)?;
    guard.await_identity(WEB.0, "edge fge0")?;
    // Seen by connect hook and edge, and by the edge alone.
    for (client, count) in [(web.client(), 300), (web.hidden_client(), 200)] {
        let client = client.count(count).concurrency(4);
        client
            .clone()
            .to(&["198.18.0.1-198.18.0.9"])
            .run()?
            .all_connected(count)?;
        client
            .to(&["2001:db8:1::1-2001:db8:1::9"])
            .run()?
            .all_connected(count)?;
    }
    web.client()
        .to(&["::ffff:198.18.0.1"])
        .port(587)
        .count(3)
        .run()?
        .all_connected(3)?;
    sink.expect_accepted(1_003)?;
    guard.expect_attempts(WEB.0, "direct", 1_000)?;
    guard.expect_attempts(WEB.0, "submission", 3)?;
    // Neither root nor the interface got any of it.
    guard.expect_sum(1_003)
}

#[test]
fn a_namespace_nobody_manages_is_known_by_its_interface() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let vm = Container::unmanaged(&lab, "fge7")?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_edge("fge7")?;
    // Until then its root is a stranger to the connect hooks.
    guard.await_identity("iface:fge7", "netns ")?;
    vm.hidden_client().count(40).run()?.all_connected(40)?;
    vm.client().count(60).run()?.all_connected(60)?;
    sink.expect_accepted(100)?;
    guard.expect_attempts("iface:fge7", "direct", 100)?;
    guard.expect_sum(100)
}

#[test]
fn a_blocked_container_is_refused_politely_and_its_packets_are_dropped() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_edge(WEB.1)?;
    guard.await_identity(WEB.0, "edge fge0")?;
    guard.ok(&["block", WEB.0])?;
    web.client().count(11).run()?.all_refused_at_once(11)?;
    for to in ["198.18.0.1", "2001:db8:1::1"] {
        let hidden = web.hidden_client().to(&[to]).timeout(ONE_RETRANSMISSION);
        hidden.run()?.all_timed_out(1)?;
    }
    let totals = guard.expect_attempts(WEB.0, "direct", 13)?;
    assert_eq!(
        totals.denied, 13,
        "a retransmitted SYN is no new attempt: {totals:?}"
    );
    guard.ok(&["unblock", WEB.0])?;
    web.client().run()?.all_connected(1)?;
    web.hidden_client().run()?.all_connected(1)?;
    sink.expect_accepted(2)?;
    guard.expect_sum(15)
}

#[test]
fn a_container_may_come_later() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let web = Container::new(&lab, "web", WEB.1)?;
    guard.await_edge(WEB.1)?;
    guard.await_identity(WEB.0, "edge fge0")?;
    web.client().count(20).run()?.all_connected(20)?;
    web.hidden_client().count(20).run()?.all_connected(20)?;
    guard.expect_attempts(WEB.0, "direct", 40)?;
    guard.expect_sum(40)
}

#[test]
fn a_container_that_does_not_wait_for_the_edge_is_counted() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let web = Container::new(&lab, "web", WEB.1)?;
    // At once, whatever is attached by now: its own sockets never go unseen.
    web.client()
        .count(2_000)
        .concurrency(2)
        .run()?
        .all_connected(2_000)?;
    guard.await_edge(WEB.1)?;
    web.client().count(10).run()?.all_connected(10)?;
    guard.expect_sum(2_010)
}

#[test]
fn a_new_link_of_the_same_name_is_guarded_again() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let vm = Container::unmanaged(&lab, "fge7")?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_edge("fge7")?;
    vm.hidden_client().count(5).run()?.all_connected(5)?;
    guard.ok(&["block", "iface:fge7"])?;
    vm.unlink()?;
    guard.await_no_edge("fge7")?;
    vm.link()?;
    guard.await_edge("fge7")?;
    // The same tenant: its count goes on, and so does its verdict.
    let hidden = vm.hidden_client();
    hidden
        .clone()
        .timeout(ONE_RETRANSMISSION)
        .run()?
        .all_timed_out(1)?;
    guard.ok(&["unblock", "iface:fge7"])?;
    hidden.count(5).run()?.all_connected(5)?;
    let totals = guard.expect_attempts("iface:fge7", "direct", 11)?;
    assert_eq!(totals.denied, 1);
    guard.expect_sum(11)
}

#[test]
fn the_edge_outlives_the_daemon() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let vm = Container::unmanaged(&lab, "fge7")?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_edge("fge7")?;
    vm.hidden_client().count(5).run()?.all_connected(5)?;
    guard.kill()?;
    vm.hidden_client().count(50).run()?.all_connected(50)?;
    guard.restart()?;
    guard.await_edge("fge7")?;
    vm.hidden_client().count(5).run()?.all_connected(5)?;
    guard.expect_attempts("iface:fge7", "direct", 60)?;
    guard.expect_sum(60)?;
    guard.terminate()?;
    guard.ok(&["detach"])?;
    vm.hidden_client().run()?.all_connected(1)?;
    vm.client().run()?.all_connected(1)
}

#[test]
fn without_tcx_a_clsact_filter_does_the_same() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let clsact = Config::observe(&lab).extra("[kernel]\nedge_attach = \"clsact\"\n");
    let mut guard = Guard::start(&lab, &clsact)?;
    guard.await_edge(WEB.1)?;
    guard.await_identity(WEB.0, "edge fge0")?;
    web.client().count(30).run()?.all_connected(30)?;
    web.hidden_client().count(30).run()?.all_connected(30)?;
    // It goes on without the daemon, and the next one takes its place.
    guard.kill()?;
    web.hidden_client().count(5).run()?.all_connected(5)?;
    guard.restart()?;
    guard.await_edge(WEB.1)?;
    guard.ok(&["block", WEB.0])?;
    let hidden = web.hidden_client().timeout(ONE_RETRANSMISSION);
    hidden.run()?.all_timed_out(1)?;
    guard.ok(&["unblock", WEB.0])?;
    guard.expect_attempts(WEB.0, "direct", 66)?;
    // Back to TCX: the filter is gone, nothing is counted twice.
    feature::TCX.require()?;
    guard.terminate()?;
    guard.configure(&Config::observe(&lab).to_string())?;
    guard.restart()?;
    guard.await_edge(WEB.1)?;
    web.hidden_client().count(10).run()?.all_connected(10)?;
    guard.expect_attempts(WEB.0, "direct", 76)?;
    sink.expect_accepted(75)?;
    guard.terminate()?;
    guard.ok(&["detach"])?;
    web.hidden_client().run()?.all_connected(1)
}

#[test]
fn detach_takes_a_clsact_filter_along() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let clsact = Config::observe(&lab).extra("[kernel]\nedge_attach = \"clsact\"\n");
    let mut guard = Guard::start(&lab, &clsact)?;
    guard.await_edge(WEB.1)?;
    guard.await_identity(WEB.0, "edge fge0")?;
    guard.ok(&["block", WEB.0])?;
    guard.terminate()?;
    let hidden = web.hidden_client().timeout(ONE_RETRANSMISSION);
    hidden.clone().run()?.all_timed_out(1)?;
    guard.ok(&["detach"])?;
    hidden.run()?.all_connected(1)
}
