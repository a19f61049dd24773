//! What the database holds: orders, minutes, and what is left of both when the daemon or its file
//! is gone.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use flowguard_tests::{
    config::{Config, FANOUT_RULE, READERS},
    guard::Guard,
    lab::Lab,
    report::Replayed,
    users::User,
    wait::{SOON, until},
};
use rusqlite::Connection;

use crate::{GAMES, WWW};

#[test]
fn every_order_is_on_record_with_who_and_why_and_refused_ones_too() -> Result<()> {
    let lab = Lab::new()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.ok(&["block", WWW.1, "--for", "1h", "--reason", "ticket 4711"])?;
    guard.cli(&["block", "container:nobody"])?.expect_code(4)?;
    let reader = User::named(READERS)?;
    guard
        .cli_as(reader, &["unblock", "--all"])?
        .expect_code(5)?;
    guard.ok(&["unblock", WWW.1])?;
    guard.ok(&["reload"])?;
    guard.hang_up()?;
    until("the reload by a signal", SOON, || {
        ensure!(guard.audit()?.iter().any(|order| order.by == "signal"));
        Ok(())
    })?;
    guard.terminate()?;
    guard.restart()?;
    let orders = guard.audit()?;
    let told: Vec<_> = orders
        .iter()
        .rev()
        .map(|order| (&*order.by, &*order.what, order.error.is_some()))
        .collect();
    let reader = format!("uid:{}", reader.uid);
    assert_eq!(
        told,
        [
            ("daemon", "start", false),
            ("uid:0", "block", false),
            ("uid:0", "block", true),
            (&*reader, "unblock", true),
            ("uid:0", "unblock", false),
            ("uid:0", "reload", false),
            ("signal", "reload", false),
            ("daemon", "stop", false),
            ("daemon", "start", false),
        ]
    );
    let block = orders.iter().rev().nth(1).context("the block")?;
    assert_eq!(block.source.as_deref(), Some(WWW.1));
    assert_eq!(block.reason.as_deref(), Some("ticket 4711"));
    let detail = block.detail.as_deref();
    assert_eq!(detail, Some("block, in direct and submission, for 1h"));
    Ok(())
}

#[test]
fn an_order_that_was_answered_survives_a_kill_at_once_and_a_copy_half_way() -> Result<()> {
    let lab = Lab::new()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    for round in 0..5 {
        let reason = format!("round {round}");
        guard.ok(&["block", WWW.1, "--reason", &reason])?;
        guard.kill()?;
        // As a power cut leaves it: nobody closed anything.
        let copy = lab.dir().join("copy.db");
        fs::copy(lab.dir().join("state.db"), &copy)?;
        fs::copy(
            lab.dir().join("state.db-wal"),
            lab.dir().join("copy.db-wal"),
        )?;
        let copied: String = Connection::open(&copy)?.query_row(
            "SELECT body FROM verdict ORDER BY record DESC LIMIT 1",
            [],
            |row| row.get(0),
        )?;
        ensure!(copied.contains(&reason), "{copied}");
        fs::remove_file(&copy)?;
        guard.restart()?;
        let shown = guard.show(WWW.1)?;
        let verdict = shown.verdicts.first().context("no verdict is shown")?;
        assert_eq!(verdict.reason.as_deref(), Some(&*reason));
    }
    Ok(())
}

#[test]
fn what_was_done_in_a_minute_is_in_the_history() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    let client = lab.client(User::named(WWW.0)?)?;
    let several = client.to(&["198.18.0.1-198.18.0.5"]);
    several.clone().count(12).run()?.all_connected(12)?;
    lab.client(User::named(GAMES.0)?)?
        .port(587)
        .run()?
        .all_connected(1)?;
    guard.await_registered(WWW.1)?;
    guard.await_registered(GAMES.1)?;
    guard.terminate()?;
    // While no daemon runs: counted, but nobody knows when it was.
    several.clone().count(3).run()?.all_connected(3)?;
    guard.restart()?;
    several.clone().count(8).run()?.all_connected(8)?;
    guard.expect_attempts(WWW.1, "direct", 23)?;
    guard.terminate()?;
    let database = Connection::open(lab.dir().join("state.db"))?;
    let mut query = database.prepare(
        "SELECT name, class, sum(attempts), max(at) % 60 FROM minute
         JOIN source ON source.id = minute.source GROUP BY name, class ORDER BY name",
    )?;
    let rows = query.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    let rows: Vec<(String, i64, i64, i64)> = rows.collect::<Result<_, _>>()?;
    let expected = [(GAMES.1.to_owned(), 1, 1, 0), (WWW.1.to_owned(), 0, 20, 0)];
    assert_eq!(rows, expected);
    Ok(())
}

#[test]
fn a_database_that_is_removed_under_the_daemon_is_replaced_and_said_so() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let state = lab.dir().join("state.db");
    guard.ok(&["block", WWW.1, "--reason", "first"])?;
    fs::remove_file(&state)?;
    guard.ok(&["block", GAMES.1, "--reason", "second"])?;
    ensure!(state.exists(), "no new database was made");
    until("a warning", SOON, || {
        let warnings = guard.status()?.warnings;
        let told = warnings
            .iter()
            .any(|text| text.contains("removed or replaced"));
        ensure!(told, "{warnings:?}");
        Ok(())
    })?;
    let shown = guard.show(WWW.1)?;
    // In force, so that it is explained although the record is gone.
    assert_eq!(shown.verdicts[0].reason.as_deref(), Some("first"));
    assert_eq!(guard.verdicts()?.len(), 4);
    Ok(())
}

#[test]
fn vanished_pins_are_said_with_what_to_do() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    fs::remove_dir_all(lab.pins())?;
    until("the warning", SOON, || {
        let warnings = guard.status()?.warnings;
        let told = |text: &String| text.contains("pins in") && text.contains("restart");
        ensure!(warnings.iter().any(told), "{warnings:?}");
        Ok(())
    })
}

#[test]
fn replaying_what_a_daemon_saw_hits_whom_it_hit_by_the_same_rule() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let config = Config::observe(&lab).rules(FANOUT_RULE);
    let mut guard = Guard::start(&lab, &config)?;
    let fan_out = lab.client(User::named(WWW.0)?)?;
    let fan_out = fan_out.to(&["198.18.0.1-198.18.0.25"]).count(40);
    fan_out.run()?.all_connected(40)?;
    // As many connections, but to one server.
    let steady = lab.client(User::named(GAMES.0)?)?.count(40);
    steady.run()?.all_connected(40)?;
    guard.await_verdict(WWW.1, Some("block"))?;
    guard.expect_attempts(GAMES.1, "direct", 40)?;
    let live = guard.show(WWW.1)?.verdicts;
    let rule = live[0].rule.clone().context("a rule")?;
    guard.terminate()?;
    let lenient = lab.dir().join("lenient.toml");
    let higher = FANOUT_RULE.replace("= 20", "= 200");
    fs::write(
        &lenient,
        format!("{}{higher}", Config::observe(&lab)).replacen("rule = []\n", "", 1),
    )?;
    let lenient = lenient.to_str().context("a path")?;
    let same = guard.config().to_str().context("a path")?.to_owned();
    let replay = |candidate: &str| -> Result<Replayed> {
        guard.json(&["policy", "replay", candidate, "--since", "1h", "--json"])
    };
    let again = replay(&same)?;
    let [hit] = again.candidate.hits.as_slice() else {
        bail!("{again:?}")
    };
    assert_eq!(
        (&*hit.source, &*hit.class, &*hit.rule),
        (WWW.1, "direct", &*rule)
    );
    assert_eq!(hit.action, "block");
    let other = replay(lenient)?;
    assert_eq!(
        (other.candidate.hits.len(), other.against.hits.len()),
        (0, 1)
    );
    let shown = guard.ok(&["policy", "replay", lenient])?;
    ensure!(shown.contains("left alone now"), "{shown}");
    // What is recommended after that can be put into a file.
    let recommended = guard.ok(&["policy", "recommend"])?;
    ensure!(recommended.contains("[[rule]]"), "{recommended}");
    guard.configure(&format!("{}{recommended}", Config::observe(&lab)).replacen(
        "rule = []\n",
        "",
        1,
    ))?;
    guard.ok(&["check"])?;
    Ok(())
}
