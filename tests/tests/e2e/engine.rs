//! A real container engine.

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    config::Config,
    docker::{self, Docker},
    feature,
    guard::Guard,
    lab::{Lab, UPLINK},
    wait::{SOON, until},
};

#[test]
fn a_docker_container_is_counted_and_blocked() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let engine = Docker::start(&lab)?;
    let config = Config::enforce(&lab).edges("veth*");
    let config = config.containers(&format!("{}/{{id}}", docker::CGROUP));
    let guard = Guard::start(&lab, &config)?;
    let id = engine.container("shop")?;
    let source = format!("container:{}", &id[..12]);
    guard.await_identity(&source, "edge veth")?;
    let connect = || engine.exec(&id, &["nc", "198.18.0.1", "25"]);
    for _ in 0..5 {
        connect()?.expect_code(0)?;
    }
    guard.expect_attempts(&source, "direct", 5)?;
    sink.expect_accepted(5)?;
    // By what an operator has at hand: the full id.
    guard.ok(&["block", &format!("container:{id}")])?;
    for _ in 0..3 {
        let refused = connect()?.expect_code(1)?;
        assert!(refused.stderr.contains(feature::refusal()?), "{refused}");
    }
    let totals = guard.expect_attempts(&source, "direct", 8)?;
    assert_eq!(totals.denied, 3);
    guard.ok(&["unblock", &source])?;
    connect()?.expect_code(0)?;
    guard.expect_sum(9)?;
    // Nor is it one behind the bridge and a translated address.
    guard.await_uplink(UPLINK)?;
    connect()?.expect_code(0)?;
    assert_eq!(guard.status()?.kernel["strays"], 0);
    let totals = guard.await_totals(&source, "direct", "7 accepted", |totals| {
        totals.established == 7
    })?;
    assert_eq!(totals.attempts, 10, "{totals:?}");
    // Its last word: a container that is gone is still known.
    engine.remove(&id)?;
    until("the edge of a removed container to be gone", SOON, || {
        let hooks = guard.status()?.hooks;
        ensure!(
            !hooks.iter().any(|hook| hook.starts_with("edge ")),
            "{hooks:?}"
        );
        Ok(())
    })?;
    let sources = guard.sources()?;
    let gone = sources.iter().find(|s| s.source == source);
    let gone = gone.with_context(|| format!("{sources:?}"))?;
    assert_eq!(gone.classes["direct"].attempts, 10);
    Ok(())
}
