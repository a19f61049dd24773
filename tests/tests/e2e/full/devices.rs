//! Devices.

use anyhow::Result;
use flowguard_tests::{
    client::ONE_RETRANSMISSION, config::Config, container::Container, guard::Guard, lab::Lab,
};

use super::is_announced;

/// Devices there is room for: the least that can be configured.
const DEVICES: u64 = 16;

#[test]
fn devices_beyond_the_table_pass_and_get_their_turn() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let vm = Container::unmanaged(&lab, "fge7")?;
    let small = Config::observe(&lab).extra("[kernel]\nmax_edges = 16\n");
    let guard = Guard::start(&lab, &small)?;
    guard.await_edge("fge7")?;
    guard.ok(&["block", "iface:fge7"])?;
    // Both ends of each are devices.
    let add = |n| format!("link add fgex{n} type veth peer name fgey{n}");
    lab.host()
        .ip(&(0..5 * DEVICES).map(add).collect::<Vec<_>>())?;
    let usage = is_announced(&guard, "edges", "kernel.max_edges")?;
    assert_eq!(usage.capacity, DEVICES);
    vm.hidden_client()
        .timeout(ONE_RETRANSMISSION)
        .run()?
        .all_timed_out(1)?;
    let denied = guard.expect_attempts("iface:fge7", "direct", 1)?.denied;
    assert_eq!(denied, 1);
    // No room for this one: the connect hooks count it, and what they cannot see passes.
    let late = Container::new(&lab, "late", "fge8")?;
    late.client().count(10).run()?.all_connected(10)?;
    late.hidden_client().count(5).run()?.all_connected(5)?;
    guard.expect_attempts("container:late", "direct", 10)?;
    guard.expect_sum(11)?;
    // Others go, and it gets its turn.
    let remove = |n| format!("link del fgex{n}");
    lab.host()
        .ip(&(0..5 * DEVICES).map(remove).collect::<Vec<_>>())?;
    guard.await_edge("fge8")?;
    guard.await_identity("container:late", "edge fge8")?;
    late.hidden_client().count(5).run()?.all_connected(5)?;
    guard.expect_attempts("container:late", "direct", 15)?;
    guard.expect_sum(16)?;
    sink.expect_accepted(20)
}
