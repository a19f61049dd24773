//! Trusted destinations.

use anyhow::{Result, ensure};
use flowguard_tests::{config::Config, guard::Guard, lab::Lab, users::User, wait::until};

use super::TOLD;
use crate::{GAMES, WWW};

/// Networks that can be configured.
const NETWORKS: u32 = 3_584;
/// Trusted destinations there is room for.
const ROOM: u64 = 4_096;

/// A configuration with the host's own addresses and so many networks.
fn config(lab: &Lab, networks: u32) -> String {
    let network = |n| format!("\"10.{}.{}.0/24\"", n / 256, n % 256);
    let networks: Vec<_> = (0..networks).map(network).collect();
    Config::observe(lab)
        .to_string()
        .replace(
            "trusted = []",
            &format!("trusted = [{}]", networks.join(", ")),
        )
        .replace(
            "trust_local_addresses = false",
            "trust_local_addresses = true",
        )
}

#[test]
fn addresses_beyond_the_table_are_told_and_the_configured_hold() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab).trusted("198.18.0.1"))?;
    let client = lab.client(User::named(WWW.0)?)?;
    client.run()?.all_connected(1)?;
    guard.expect_attempts(WWW.1, "relay", 1)?;
    // Ten times as many as are left.
    let add = |n: u32| format!("addr add 172.16.{}.{}/32 dev lo", n / 256, n % 256);
    let addresses = 10 * (ROOM as u32 - NETWORKS);
    lab.host()
        .ip(&(0..addresses).map(add).collect::<Vec<_>>())?;
    let text = config(&lab, NETWORKS).replacen("\"10.0.0.0/24\"", "\"198.18.0.1\"", 1);
    guard.configure(&text)?;
    guard.ok(&["reload"])?;
    let told = |text: &String| text.contains("addresses are not trusted");
    until("the warning", TOLD, || {
        let status = guard.status()?;
        ensure!(status.warnings.iter().any(told), "{:?}", status.warnings);
        let usage = status.tables.get("trusted").copied().unwrap_or_default();
        ensure!((usage.used, usage.capacity) == (ROOM, ROOM), "{usage:?}");
        // The namespace's own few are among those left out.
        let extra = usage.refused - u64::from(addresses - (ROOM as u32 - NETWORKS));
        ensure!(extra < 16, "{usage:?}");
        Ok(())
    })?;
    // It stands as long as it is so. When a verdict has ended, all else was looked after, too.
    guard.ok(&["block", GAMES.1, "--for", "1s"])?;
    until("the block to end", TOLD, || {
        let verdicts = guard.verdicts()?;
        ensure!(verdicts.is_empty(), "{verdicts:?}");
        Ok(())
    })?;
    let warnings = guard.status()?.warnings;
    ensure!(warnings.iter().any(told), "{warnings:?}");
    client.clone().count(10).run()?.all_connected(10)?;
    client.to(&["198.18.0.2"]).run()?.all_connected(1)?;
    guard.expect_attempts(WWW.1, "relay", 11)?;
    guard.expect_attempts(WWW.1, "direct", 1)?;
    guard.expect_sum(12)?;
    sink.expect_accepted(12)?;
    // More networks than there is room for are refused, and the old ones hold.
    guard.configure(&config(&lab, NETWORKS + 1))?;
    let refused = guard.cli(&["reload"])?.expect_code(2)?;
    ensure!(refused.stderr.contains("too many"), "{refused}");
    lab.client(User::named(WWW.0)?)?.run()?.all_connected(1)?;
    guard.expect_attempts(WWW.1, "relay", 12)?;
    Ok(())
}
