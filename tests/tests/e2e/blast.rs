//! One tenant at full blast, and what happens to another one meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    config::{Config, FANOUT_RULE},
    guard::Guard,
    lab::Lab,
    users::User,
    wait::{patience, until},
};

use crate::{GAMES, WWW};

/// How soon the quiet tenant's evidence and verdict must be there.
const IN_TIME: Duration = Duration::from_secs(5);
/// Connections the quiet one makes, to as many servers as the rule asks for and a few more.
const QUIET: u64 = 30;

/// While www-data makes `count` connections as fast as they go, games does what a rule convicts it
/// for. How fast www-data was, connections a second.
fn evidence_arrives(blocked: bool, count: u64) -> Result<f64> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let config = Config::enforce(&lab).rules(FANOUT_RULE);
    let guard = Guard::start(&lab, &config)?;
    let (www, games) = (
        lab.client(User::named(WWW.0)?)?,
        lab.client(User::named(GAMES.0)?)?,
    );
    for (client, source) in [(&www, WWW.1), (&games, GAMES.1)] {
        client.run()?.all_connected(1)?;
        guard.await_registered(source)?;
    }
    if blocked {
        guard.ok(&["block", WWW.1])?;
    }
    let begun = Instant::now();
    // To several servers, or its ports would run out.
    let servers = ["198.18.2.1-198.18.2.9"];
    let blast = www.to(&servers).count(count).concurrency(4).start()?;
    until("the blast to be under way", IN_TIME, || {
        let attempts = guard.totals(WWW.1, "direct")?.attempts;
        ensure!(attempts > count / 20, "{attempts}");
        Ok(())
    })?;
    let quiet = games.clone().to(&["198.18.1.1-198.18.1.25"]).count(QUIET);
    quiet.run()?.all_connected(QUIET)?;
    until("the quiet one's events and verdict", IN_TIME, || {
        let events = guard.events()?;
        let of_games = events.iter().filter(|event| event.source == GAMES.1);
        let of_games = of_games.count();
        ensure!(of_games as u64 == 1 + QUIET, "{of_games}");
        let verdicts = guard.verdicts()?;
        let verdict = verdicts.iter().find(|verdict| verdict.source == GAMES.1);
        let verdict = verdict.with_context(|| format!("{verdicts:?}"))?;
        ensure!(
            verdict.rule.as_deref() == Some("direct-fanout"),
            "{verdict:?}"
        );
        let own = verdict.events.iter().filter(|e| e.source == GAMES.1);
        // All, but for one or two that a CPU was just about to tell of, and for those whose processes
        // a slow machine looks at for longer than a verdict waits.
        let late = 2 * u64::from(patience()?);
        ensure!(own.count() as u64 + late >= QUIET, "{:?}", verdict.events);
        Ok(())
    })?;
    games.run()?.all_refused(1)?;
    // All this was while the other one was at it.
    let attempts = guard.totals(WWW.1, "direct")?.attempts;
    ensure!(attempts < count, "the blast was over too soon");
    let outcome = blast.outcome()?;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    if blocked {
        outcome.all_refused(count)?;
    } else {
        outcome.all_connected(count)?;
    }
    let totals = guard.expect_attempts(WWW.1, "direct", 1 + count)?;
    assert_eq!(totals.denied, if blocked { count } else { 0 });
    guard.expect_attempts(GAMES.1, "direct", 1 + QUIET + 1)?;
    guard.expect_sum(1 + count + 1 + QUIET + 1)?;
    sink.expect_accepted(2 + QUIET + if blocked { 0 } else { count })?;
    Ok(rate)
}

#[test]
fn bypass_35_a_flood_of_connections_does_not_hold_up_anothers_evidence() -> Result<()> {
    let rate = evidence_arrives(false, 40_000)?;
    // Less is no flood; the machine may be busy with other tests.
    ensure!(rate > 500.0 / f64::from(patience()?), "{rate:.0} a second");
    Ok(())
}

#[test]
fn bypass_35_a_flood_of_refused_attempts_does_not_hold_up_anothers_evidence() -> Result<()> {
    let rate = evidence_arrives(true, 300_000)?;
    ensure!(
        rate > 10_000.0 / f64::from(patience()?),
        "{rate:.0} a second"
    );
    Ok(())
}
