//! Gateways that come, go, and belong to somebody else.

use anyhow::{Result, ensure};
use flowguard_tests::{
    client::IMPATIENT,
    config::Config,
    container::Container,
    feature,
    foreign_xdp::ForeignXdp,
    guard::Guard,
    lab::Lab,
    lan::Lan,
    wait::{SOON, until},
};

use super::{A, B, GATEWAY, await_gateway, gateways, start};

/// Waits for a warning with these words, or for its end.
fn await_warning(guard: &Guard<'_>, words: &str, there: bool) -> Result<()> {
    let what = format!("a warning `{words}`: {there}");
    until(&what, SOON, || {
        let warnings = guard.status()?.warnings;
        let found = warnings.iter().any(|warning| warning.contains(words));
        ensure!(found == there, "{warnings:?}");
        Ok(())
    })
}

/// It outlives the daemon, and another takes its place without losing a count.
fn the_gateway_outlives_the_daemon(mode: &str) -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let mut guard = start(&lab, Config::observe(&lab), mode)?;
    let client = lan.client(&[A.0]);
    client.clone().count(5).run()?.all_connected(5)?;
    guard.await_registered(A.1)?;
    guard.kill()?;
    client.clone().count(50).run()?.all_connected(50)?;
    guard.restart()?;
    for _ in 0..4 {
        let running = client.clone().count(2_000).concurrency(2).start()?;
        guard.kill()?;
        guard.restart()?;
        await_gateway(&guard, mode)?;
        assert!(guard.status()?.adopted);
        running.outcome()?.all_connected(2_000)?;
    }
    client.clone().count(5).run()?.all_connected(5)?;
    guard.expect_attempts(A.1, "direct", 8_060)?;
    guard.expect_sum(8_060)?;
    guard.ok(&["block", A.1])?;
    guard.terminate()?;
    guard.ok(&["detach"])?;
    client.run()?.all_connected(1)?;
    // Nothing is left of it: the device takes another program.
    ForeignXdp::attach(lab.host(), GATEWAY).map(drop)
}

#[test]
fn the_gateway_outlives_the_daemon_natively() -> Result<()> {
    the_gateway_outlives_the_daemon("native")
}

#[test]
fn the_gateway_outlives_the_daemon_generically() -> Result<()> {
    the_gateway_outlives_the_daemon("generic")
}

#[test]
fn no_count_is_lost_while_maps_are_replaced_by_larger_ones() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let mut guard = start(&lab, Config::observe(&lab), "native")?;
    guard.ok(&["block", B.1])?;
    let client = lan.client(&[A.0]).count(4_000).concurrency(2);
    for room in [2_048, 1_024] {
        let config = Config::observe(&lab).extra(&format!(
            "[kernel]\nmax_edges = {room}\nmax_identities = {}\n",
            room * 32
        ));
        guard.configure(&gateways(config, "native").to_string())?;
        let running = client.start()?;
        guard.terminate()?;
        guard.restart()?;
        await_gateway(&guard, "native")?;
        running.outcome()?.all_connected(4_000)?;
        let usage = guard.status()?.tables;
        ensure!(usage["edges"].capacity == room, "{usage:?}");
        ensure!(usage["addresses"].used == 2, "{usage:?}");
        let blocked = lan.client(&[B.0]).timeout(IMPATIENT);
        blocked.run()?.all_timed_out(1)?;
    }
    guard.expect_attempts(A.1, "direct", 8_000)?;
    let totals = guard.expect_attempts(B.1, "direct", 2)?;
    assert_eq!(totals.denied, 2);
    guard.expect_sum(8_002)
}

#[test]
fn a_gateway_may_come_later_and_again() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &gateways(Config::observe(&lab), "auto"))?;
    await_warning(&guard, "no interface of this host fits", true)?;
    let lan = Lan::new(&lab, GATEWAY)?;
    await_gateway(&guard, "native")?;
    await_warning(&guard, "no interface of this host fits", false)?;
    let client = lan.client(&[A.0]).count(10);
    client.run()?.all_connected(10)?;
    lan.unlink()?;
    await_warning(&guard, "no interface of this host fits", true)?;
    lan.link()?;
    await_gateway(&guard, "native")?;
    client.run()?.all_connected(10)?;
    guard.expect_attempts(A.1, "direct", 20)?;
    // By its name, which it may get later.
    lab.host().ip(&[
        format!("link set {GATEWAY} down"),
        format!("link set {GATEWAY} name other0"),
    ])?;
    await_warning(&guard, "no interface of this host fits", true)?;
    ForeignXdp::attach(lab.host(), "other0").map(drop)?;
    lab.host().ip(&[
        format!("link set other0 name {GATEWAY}"),
        format!("link set {GATEWAY} up"),
    ])?;
    await_gateway(&guard, "native")
}

#[test]
fn the_mode_follows_the_configuration() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let guard = start(&lab, Config::observe(&lab), "native")?;
    let client = lan.client(&[A.0]).count(10);
    for mode in ["generic", "native"] {
        guard.configure(&gateways(Config::observe(&lab), mode).to_string())?;
        guard.ok(&["reload"])?;
        await_gateway(&guard, mode)?;
        client.run()?.all_connected(10)?;
    }
    guard.expect_attempts(A.1, "direct", 20)?;
    guard.configure(&Config::observe(&lab).to_string())?;
    guard.ok(&["reload"])?;
    client.run()?.all_connected(10)?;
    guard.expect_sum(20)?;
    ForeignXdp::attach(lab.host(), GATEWAY).map(drop)
}

#[test]
fn another_xdp_program_is_left_alone() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let foreign = ForeignXdp::attach(lab.host(), GATEWAY)?;
    let guard = Guard::start(&lab, &gateways(Config::observe(&lab), "auto"))?;
    await_warning(&guard, "gw0 runs another XDP program", true)?;
    let doctor = guard.cli(&["doctor"])?.stdout;
    assert!(doctor.contains("another XDP program"), "{doctor}");
    lan.client(&[A.0]).count(10).run()?.all_connected(10)?;
    guard.expect_sum(0)?;
    // Once it has gone, the gateway gets its turn.
    drop(foreign);
    await_gateway(&guard, "native")?;
    await_warning(&guard, "gw0 runs another XDP program", false)?;
    lan.client(&[A.0]).count(10).run()?.all_connected(10)?;
    guard.expect_attempts(A.1, "direct", 10)?;
    let doctor = guard.cli(&["doctor"])?.stdout;
    assert!(doctor.contains("guarded, native XDP"), "{doctor}");
    Ok(())
}

#[test]
fn an_edge_is_no_gateway() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", "fge0")?;
    let both = Config::observe(&lab).extra("[gateway]\ninterfaces = [\"fge*\"]\n");
    let guard = Guard::start(&lab, &both)?;
    guard.await_edge("fge0")?;
    await_warning(&guard, "guarded as the edge", true)?;
    web.client().count(10).run()?.all_connected(10)?;
    web.hidden_client().count(10).run()?.all_connected(10)?;
    guard.expect_attempts("container:web", "direct", 20)?;
    guard.expect_sum(20)
}

#[test]
fn doctor_says_whether_the_driver_runs_xdp() -> Result<()> {
    feature::XDP_FEATURES.require()?;
    let lab = Lab::new()?;
    let _lan = Lan::new(&lab, GATEWAY)?;
    let guard = Guard::stopped(&lab, &gateways(Config::observe(&lab), "native"))?;
    let doctor = guard.cli(&["doctor"])?.stdout;
    assert!(doctor.contains("its driver runs XDP natively"), "{doctor}");
    // A bridge does not.
    lab.host().ip(&["link add gw1 type bridge".to_owned()])?;
    let doctor = guard.cli(&["doctor"])?.expect_code(5)?.stdout;
    assert!(
        doctor.contains("its driver does not run XDP natively"),
        "{doctor}"
    );
    Ok(())
}
