//! What the daemon decides by itself, and what the kernel holds to by itself.

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    client::Client,
    config::{Config, FANOUT_RULE},
    guard::Guard,
    lab::Lab,
    users::User,
    wait::{SOON, until},
};

use crate::{BACKUP, GAMES, WWW};

/// What [`FANOUT_RULE`] is for, and just enough for it: a verdict may come at any time after that.
fn fan_out(client: &Client) -> Result<()> {
    let client = client.clone().to(&["198.18.0.1-198.18.0.25"]);
    client.count(30).run()?.all_connected(30)
}

#[test]
fn enforce_mode_stops_a_fan_out_and_explains_it() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::enforce(&lab).rules(FANOUT_RULE))?;
    let user = User::named(WWW.0)?;
    let client = lab.client(user)?;
    fan_out(&client)?;
    guard.await_verdict(WWW.1, Some("block"))?;
    client.clone().count(7).run()?.all_refused(7)?;
    let totals = guard.expect_attempts(WWW.1, "direct", 37)?;
    assert_eq!((totals.denied, totals.would_deny), (7, 0));
    // Another class, another user: not concerned.
    client.clone().port(587).run()?.all_connected(1)?;
    lab.client(User::named(GAMES.0)?)?.run()?.all_connected(1)?;

    let detail = guard.show(WWW.1)?;
    let verdict = detail.verdicts.first().context("no verdict is shown")?;
    assert_eq!(verdict.rule.as_deref(), Some("direct-fanout"));
    assert_eq!(
        (&*verdict.by, &*verdict.mode, &*verdict.class),
        ("policy", "enforce", "direct")
    );
    for (what, limit, values) in [
        ("attempts", 30.0, 30.0..=30.0),
        ("destinations", 20.0, 20.0..=25.0),
    ] {
        let seen = verdict.observations.iter().find(|o| o.what == what);
        let seen = seen.with_context(|| format!("no {what}: {verdict:?}"))?;
        assert!(values.contains(&seen.value), "{seen:?}");
        assert_eq!((seen.limit, seen.window_seconds), (limit, 300));
    }
    let event = verdict.events.first().context("no evidence is shown")?;
    assert!(event.dst.starts_with("198.18.0."), "{event:?}");
    let process = event.process.as_ref().context("no process is shown")?;
    assert_eq!(
        (process.uid, &*process.comm),
        (user.uid.as_raw(), "fg-client")
    );
    Ok(())
}

#[test]
fn observe_mode_only_notes_what_it_would_deny() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab).rules(FANOUT_RULE))?;
    let client = lab.client(User::named(WWW.0)?)?;
    fan_out(&client)?;
    guard.await_verdict(WWW.1, Some("block"))?;
    let before = guard.totals(WWW.1, "direct")?;
    client.clone().count(10).run()?.all_connected(10)?;
    let after = guard.expect_attempts(WWW.1, "direct", 40)?;
    assert_eq!(
        (after.denied, after.would_deny - before.would_deny),
        (0, 10)
    );
    sink.expect_accepted(40)
}

#[test]
fn exempt_sources_and_trusted_destinations_are_never_judged() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let config = Config::enforce(&lab).rules(FANOUT_RULE);
    let config = config.exempt("user:games").trusted("198.19.0.0/16");
    let guard = Guard::start(&lab, &config)?;
    let exempt = lab.client(User::named(GAMES.0)?)?;
    fan_out(&exempt)?;
    let relaying = lab.client(User::named(BACKUP.0)?)?;
    let to_the_relay = relaying.clone().to(&["198.19.0.1-198.19.0.99"]).count(200);
    to_the_relay.run()?.all_connected(200)?;
    // When this one is convicted, the rules have been weighed on the two others as well.
    fan_out(&lab.client(User::named(WWW.0)?)?)?;
    guard.await_verdict(WWW.1, Some("block"))?;
    guard.await_verdict(GAMES.1, None)?;
    guard.await_verdict(BACKUP.1, None)?;
    exempt.clone().count(50).run()?.all_connected(50)?;
    to_the_relay.run()?.all_connected(200)?;
    assert_eq!(
        guard.show(GAMES.1)?.summary.exempt.as_deref(),
        Some("mail-servers")
    );
    guard.expect_attempts(GAMES.1, "direct", 80)?;
    guard.expect_attempts(BACKUP.1, "relay", 400)?;
    Ok(())
}

#[test]
fn a_ceiling_lets_exactly_its_burst_through() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let ceiling = "[ceilings]\ndirect = { burst = 100, rate = 1, per = \"1h\" }\n";
    let guard = Guard::start(&lab, &Config::enforce(&lab).extra(ceiling))?;
    let user = User::named(WWW.0)?;
    // The ceiling is kept per registered source.
    lab.client(user)?.port(587).run()?.all_connected(1)?;
    guard.await_registered(WWW.1)?;
    let client = lab.client(user)?.to(&["198.18.0.1-198.18.0.9"]);
    client
        .count(10_000)
        .concurrency(16)
        .run()?
        .split(100, 9_900)?;
    let totals = guard.expect_attempts(WWW.1, "direct", 10_000)?;
    assert_eq!(totals.denied, 9_900);
    sink.expect_accepted(101)?;
    // An operator's word lifts it.
    guard.ok(&["allow", WWW.1])?;
    lab.client(user)?.count(20).run()?.all_connected(20)
}

#[test]
fn a_ceiling_is_noted_in_observe_mode() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let ceiling = "[ceilings]\ndirect = { burst = 100, rate = 1, per = \"1h\" }\n";
    let guard = Guard::start(&lab, &Config::observe(&lab).extra(ceiling))?;
    let client = lab.client(User::named(WWW.0)?)?;
    client.clone().port(587).run()?.all_connected(1)?;
    guard.await_registered(WWW.1)?;
    client.count(300).run()?.all_connected(300)?;
    let totals = guard.expect_attempts(WWW.1, "direct", 300)?;
    assert_eq!((totals.denied, totals.would_deny), (0, 200));
    Ok(())
}

#[test]
fn a_raised_ceiling_relieves_at_once() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let ceiling = |burst, per| {
        let table =
            format!("[ceilings]\ndirect = {{ burst = {burst}, rate = {burst}, per = {per:?} }}\n");
        Config::enforce(&lab).extra(&table)
    };
    let guard = Guard::start(&lab, &ceiling(5, "24h"))?;
    let client = lab.client(User::named(WWW.0)?)?;
    client.clone().port(587).run()?.all_connected(1)?;
    guard.await_registered(WWW.1)?;
    client.clone().count(20).run()?.split(5, 15)?;
    guard.configure(&ceiling(600, "1m").to_string())?;
    guard.ok(&["reload"])?;
    // Of the new rate there is one left, and soon the next.
    client.run()?.all_connected(1)?;
    until("the throttled user to get through again", SOON, || {
        let outcome = client.run()?;
        ensure!(outcome.connected == 1, "{outcome:?}");
        Ok(())
    })
}
