//! Containers of real LXC.

use anyhow::{Context as _, Result};
use flowguard_tests::{
    client::Outcome, config::Config, guard::Guard, lab::Lab, lxc::Lxc, process::run, wait::SOON,
};

const SHOP: &str = "container:shop";

/// Connections from inside.
fn connect(lab: &Lab, shop: &Lxc<'_>, count: u64) -> Result<Outcome> {
    let prefix = shop.prefix();
    let (program, arguments) = prefix.split_first().context("a command")?;
    let mut command = lab.place("tools")?.command(program)?;
    command.args(arguments).arg(lab.client_program());
    command.args(["--port=25", "--concurrency=1", "--timeout-ms=20000"]);
    command.args([&format!("--count={count}"), "198.18.0.1"]);
    serde_json::from_str(&run(&mut command, SOON)?.expect_code(0)?.stdout).context("an outcome")
}

#[test]
fn an_lxc_container_restarted_while_blocked_stays_blocked() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let config = Config::enforce(&lab).edges("veth*");
    let guard = Guard::start(&lab, &config.containers("lxc.payload.{name}"))?;
    let mut shop = Lxc::start(&lab, "shop")?;
    guard.await_identity(SHOP, "edge veth")?;
    connect(&lab, &shop, 3)?.all_connected(3)?;
    guard.expect_attempts(SHOP, "direct", 3)?;
    guard.ok(&["block", SHOP])?;
    let before = guard.show(SHOP)?;
    shop.restart()?;
    connect(&lab, &shop, 3)?.all_refused(3)?;
    sink.expect_accepted(3)?;
    guard.expect_attempts(SHOP, "direct", 6)?;
    let after = guard.show(SHOP)?;
    assert_eq!(before.summary.id, after.summary.id);
    assert_ne!(before.identities, after.identities, "another cgroup");
    guard.ok(&["unblock", SHOP])?;
    connect(&lab, &shop, 1)?.all_connected(1)
}
