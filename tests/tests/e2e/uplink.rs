//! The host's own way to the world: what leaves that nobody accounted for.

use anyhow::{Result, ensure};
use flowguard_tests::{
    config::Config,
    container::Container,
    guard::Guard,
    lab::{Lab, UPLINK},
    users::User,
    wait::{SOON, until},
};

use crate::WWW;

#[test]
fn what_is_accounted_for_is_no_stray() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", "fge0")?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_uplink(UPLINK)?;
    guard.await_edge("fge0")?;
    for client in [
        lab.client(User::named(WWW.0)?)?,
        web.client(),
        web.hidden_client(),
    ] {
        for to in ["198.18.0.1", "2001:db8:1::1"] {
            client
                .clone()
                .to(&[to])
                .count(20)
                .run()?
                .all_connected(20)?;
        }
    }
    guard.expect_sum(120)?;
    ensure!(guard.status()?.kernel["strays"] == 0);
    Ok(())
}

#[test]
fn a_device_that_is_no_edge_is_noticed() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let unknown = Container::unmanaged(&lab, "unknown0")?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_uplink(UPLINK)?;
    for to in ["198.18.0.1", "2001:db8:1::1"] {
        unknown
            .hidden_client()
            .to(&[to])
            .count(15)
            .run()?
            .all_connected(15)?;
    }
    sink.expect_accepted(30)?;
    guard.expect_sum(0)?;
    let status = until("a warning about strays", SOON, || {
        let status = guard.status()?;
        ensure!(
            status
                .warnings
                .iter()
                .any(|warning| warning.contains("belong to no source")),
            "{:?}",
            status.warnings
        );
        Ok(status)
    })?;
    assert_eq!(status.kernel["strays"], 30);
    let events = guard.events()?;
    assert_eq!(events.len(), 30, "{events:?}");
    assert!(
        events.iter().all(|event| event.source == "stray"
            && event.hook == "uplink"
            && event.decision == "pass"),
        "{events:?}"
    );
    Ok(())
}

#[test]
fn the_uplink_outlives_the_daemon_and_follows_the_routes() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_uplink(UPLINK)?;
    guard.ok(&["allow", WWW.1])?;
    let client = lab.client(User::named(WWW.0)?)?;
    client.clone().count(10).run()?.all_connected(10)?;
    guard.kill()?;
    client.clone().count(25).run()?.all_connected(25)?;
    guard.restart()?;
    guard.await_uplink(UPLINK)?;
    client.count(5).run()?.all_connected(5)?;
    guard.await_totals(WWW.1, "direct", "40 accepted", |totals| {
        totals.established == 40
    })?;
    guard.terminate()?;
    let excluded = Config::observe(&lab).extra("[uplinks]\nexclude = [\"world*\"]\n");
    guard.configure(&excluded.to_string())?;
    guard.restart()?;
    until("no uplink", SOON, || {
        let hooks = guard.status()?.hooks;
        ensure!(
            !hooks.iter().any(|hook| hook.starts_with("uplink")),
            "{hooks:?}"
        );
        Ok(())
    })
}
