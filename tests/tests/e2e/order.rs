//! What an operator orders by hand: it holds at once, in both modes, exactly as long and for
//! exactly whom it was meant.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use flowguard_tests::{
    client::Client,
    config::Config,
    guard::Guard,
    lab::Lab,
    sink::Sink,
    users::User,
    wait::{SOON, until},
};

use crate::{GAMES, WWW};

/// Waits until a client gets through, and checks that this is not before `earliest`.
fn passes_again_after(client: &Client, earliest: Instant) -> Result<()> {
    let outcome = until("the block to end", SOON, || {
        let outcome = client.run()?;
        ensure!(outcome.connected == 1, "{outcome:?}");
        Ok(outcome)
    })?;
    ensure!(Instant::now() >= earliest, "the block ended too early");
    outcome.all_connected(1)
}

#[test]
fn a_block_refuses_at_once_and_ends_by_itself() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let client = lab.client(User::named(WWW.0)?)?;
    client.run()?.all_connected(1)?;
    let six = client.clone().to(&["2001:db8:1::1"]);
    let ordered = Instant::now();
    guard.ok(&["block", WWW.1, "--for", "2s"])?;
    for client in [&client, &six] {
        client.clone().count(11).run()?.all_refused_at_once(11)?;
    }
    lab.client(User::named(GAMES.0)?)?.run()?.all_connected(1)?;
    passes_again_after(&client, ordered + Duration::from_secs(2))?;
    let totals = guard.totals(WWW.1, "direct")?;
    assert!(
        totals.denied >= 22 && totals.attempts == totals.denied + 2,
        "{totals:?}"
    );
    guard.await_verdict(WWW.1, None)?;
    sink.expect_accepted(3)
}

#[test]
fn a_block_ends_by_itself_without_the_daemon() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    let client = lab.client(User::named(WWW.0)?)?;
    client.run()?.all_connected(1)?;
    let ordered = Instant::now();
    guard.ok(&["block", WWW.1, "--for", "2s"])?;
    guard.kill()?;
    client.run()?.all_refused(1)?;
    passes_again_after(&client, ordered + Duration::from_secs(2))
}

#[test]
fn a_block_is_for_one_class_if_so_ordered() -> Result<()> {
    let lab = Lab::new()?;
    let _world = lab.sink()?;
    let _local = Sink::start(lab.host(), &[25])?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let direct = lab.client(User::named(WWW.0)?)?;
    let submission = direct.clone().port(587);
    let relay = direct.clone().to(&["127.0.0.1"]);
    guard.ok(&["block", WWW.1, "--class", "submission"])?;
    submission.run()?.all_refused(1)?;
    direct.run()?.all_connected(1)?;
    guard.ok(&["unblock", WWW.1])?;
    submission.run()?.all_connected(1)?;
    // Unless told otherwise, a tenant may still hand mail to the host's own server.
    guard.ok(&["block", WWW.1])?;
    for client in [&direct, &submission] {
        client.run()?.all_refused(1)?;
    }
    relay.run()?.all_connected(1)?;
    guard.ok(&["block", WWW.1, "--class", "relay"])?;
    relay.run()?.all_refused(1)
}

#[test]
fn unblock_all_lifts_everything() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let clients = [
        lab.client(User::named(WWW.0)?)?,
        lab.client(User::named(GAMES.0)?)?,
    ];
    guard.ok(&["block", WWW.1])?;
    guard.ok(&["block", GAMES.1])?;
    assert!(guard.verdicts()?.len() >= 2);
    for client in &clients {
        client.run()?.all_refused(1)?;
    }
    guard.ok(&["unblock", "--all"])?;
    assert_eq!(guard.verdicts()?, []);
    for client in &clients {
        client.run()?.all_connected(1)?;
    }
    Ok(())
}

#[test]
fn a_denied_program_is_told_what_the_configuration_says() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let config = Config::observe(&lab).guard("deny = \"not-permitted\"");
    let guard = Guard::start(&lab, &config)?;
    guard.ok(&["block", WWW.1])?;
    let outcome = lab.client(User::named(WWW.0)?)?.count(3).run()?;
    assert_eq!(
        (outcome.not_permitted, outcome.connected, outcome.refused),
        (3, 0, 0)
    );
    Ok(())
}

#[test]
fn an_order_is_on_record_with_its_reason() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let order = [
        "block",
        WWW.1,
        "--class",
        "direct",
        "--reason",
        "abuse report 4711",
    ];
    guard.ok(&order)?;
    let verdicts = guard.verdicts()?;
    let [verdict] = &verdicts[..] else {
        panic!("one order makes one verdict a class: {verdicts:?}");
    };
    assert_eq!(
        (&*verdict.source, &*verdict.class, &*verdict.action),
        (WWW.1, "direct", "block")
    );
    assert_eq!((&*verdict.by, verdict.rule.as_deref()), ("uid:0", None));
    assert_eq!(verdict.reason.as_deref(), Some("abuse report 4711"));
    guard.await_verdict(WWW.1, Some("block"))?;
    guard.ok(&["unblock", WWW.1])?;
    // Lifted, but not forgotten.
    let detail = guard.show(WWW.1)?;
    assert_eq!(
        detail.verdicts[0].reason.as_deref(),
        Some("abuse report 4711")
    );
    Ok(())
}

#[test]
fn a_cgroup_is_a_source_only_while_there_is_an_order() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    let user = User::named(WWW.0)?;
    let unit = lab.cgroups().child("unit")?;
    let path = format!("{}/unit", lab.cgroups().relative());
    let source = format!("cgroup:{path}");
    let inside = |lab: &Lab| Ok::<_, anyhow::Error>(lab.client_in(lab.place("unit")?.user(user)));
    guard.ok(&["block", &source])?;
    inside(&lab)?.run()?.all_refused(1)?;
    lab.client(user)?.run()?.all_connected(1)?;
    // As when systemd restarts the unit, and when the daemon starts again.
    std::fs::remove_dir(&unit)?;
    lab.cgroups().child("unit")?;
    until("the new cgroup to be blocked", SOON, || {
        inside(&lab)?.run()?.all_refused(1)
    })?;
    guard.kill()?;
    guard.restart()?;
    inside(&lab)?.run()?.all_refused(1)?;
    guard.ok(&["unblock", &source])?;
    let before = guard.totals(WWW.1, "direct")?.attempts;
    inside(&lab)?.count(5).run()?.all_connected(5)?;
    guard.expect_attempts(WWW.1, "direct", before + 5)?;
    for bad in [
        "cgroup:/",
        "cgroup:/..",
        "cgroup:relative",
        &format!("{source}/../unit"),
        "cgroup:/elsewhere",
    ] {
        guard.cli(&["block", bad])?.expect_code(2)?;
    }
    assert_eq!(guard.verdicts()?, []);
    Ok(())
}

#[test]
fn a_lifted_block_stays_lifted() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    let client = lab.client(User::named(WWW.0)?)?;
    guard.ok(&["block", WWW.1])?;
    guard.ok(&["block", WWW.1, "--for", "1s"])?;
    passes_again_after(&client, Instant::now())?;
    guard.ok(&["block", WWW.1])?;
    guard.ok(&["unblock", WWW.1])?;
    guard.kill()?;
    guard.restart()?;
    assert_eq!(guard.verdicts()?, []);
    client.run()?.all_connected(1)?;
    // Nor does it come back after a reboot.
    guard.terminate()?;
    lab.reboot()?;
    guard.restart()?;
    assert_eq!(guard.verdicts()?, []);
    client.run()?.all_connected(1)
}
