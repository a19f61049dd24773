//! The registry of sources, the verdicts, and what is counted before somebody is registered.

use anyhow::{Context as _, Result, bail, ensure};
use flowguard_tests::{
    config::Config,
    guard::Guard,
    lab::Lab,
    report::Status,
    users::User,
    wait::{SOON, until},
};

use super::{Crowd, NEWCOMERS, ROOM, TOLD, is_announced, usage_of};
use crate::{GAMES, WWW};

const SMALL: &str = "[kernel]\nmax_sources = 64\n";

#[test]
fn bypass_34_a_full_registry_changes_nothing_for_who_is_in_it() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab).extra(SMALL))?;
    let (www, games) = (
        lab.client(User::named(WWW.0)?)?,
        lab.client(User::named(GAMES.0)?)?,
    );
    guard.ok(&["block", WWW.1])?;
    games.run()?.all_connected(1)?;
    guard.await_registered(GAMES.1)?;
    Crowd::of(&lab)
        .users(0, NEWCOMERS)?
        .all_connected(NEWCOMERS)?;
    let usage = is_announced(&guard, "sources", "kernel.max_sources")?;
    assert_eq!(usage.capacity, ROOM);
    www.clone().count(10).run()?.all_refused(10)?;
    games.clone().count(10).run()?.all_connected(10)?;
    let counted = |guard: &Guard<'_>| -> Result<()> {
        let denied = guard.expect_attempts(WWW.1, "direct", 10)?.denied;
        assert_eq!(denied, 10);
        let denied = guard.expect_attempts(GAMES.1, "direct", 11)?.denied;
        assert_eq!(denied, 0);
        // Those without a place are counted one by one all the same.
        guard.expect_sum(NEWCOMERS + 21)
    };
    counted(&guard)?;
    sink.expect_accepted(NEWCOMERS + 11)?;
    // Who finds no room cannot be blocked, and the operator is told why.
    let refused = guard.cli(&["block", &Crowd::source(NEWCOMERS - 1)])?;
    ensure!(
        refused.code() != 0 && refused.stderr.contains("kernel.max_sources"),
        "{refused}"
    );
    guard.kill()?;
    guard.restart()?;
    counted(&guard)?;
    www.run()?.all_refused(1)?;
    games.run()?.all_connected(1)
}

#[test]
fn verdicts_have_room_for_every_source_in_every_class() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab).extra(SMALL))?;
    let classes = ["direct", "submission", "relay"].map(|class| ["--class", class]);
    for n in 0..ROOM {
        let source = Crowd::source(n);
        guard.ok(&[&["block", &source][..], classes.as_flattened()].concat())?;
    }
    assert_eq!(guard.verdicts()?.len() as u64, 3 * ROOM);
    let crowd = Crowd::of(&lab);
    crowd.users(ROOM, NEWCOMERS)?.all_connected(NEWCOMERS)?;
    crowd.users(0, ROOM)?.all_refused(ROOM)?;
    is_announced(&guard, "sources", "kernel.max_sources")?;
    guard.expect_sum(NEWCOMERS + ROOM)?;
    sink.expect_accepted(NEWCOMERS)?;
    guard.ok(&["unblock", "--all"])?;
    crowd.users(0, ROOM)?.all_connected(ROOM)
}

#[test]
fn who_finds_the_table_of_strangers_full_passes_and_that_is_counted() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let config = Config::observe(&lab)
        .extra(SMALL)
        .extra("max_unregistered = 64\n");
    let guard = Guard::start(&lab, &config)?;
    let (www, games) = (
        lab.client(User::named(WWW.0)?)?,
        lab.client(User::named(GAMES.0)?)?,
    );
    guard.ok(&["block", WWW.1])?;
    games.run()?.all_connected(1)?;
    guard.await_registered(GAMES.1)?;
    Crowd::of(&lab)
        .users(0, NEWCOMERS)?
        .all_connected(NEWCOMERS)?;
    // One of the entries is that of games' first attempt.
    let uncounted = NEWCOMERS - (ROOM - 1);
    until("the attempts that nobody counted", TOLD, || {
        let status = guard.status()?;
        let seen = status.counted("attempts_without_source");
        ensure!(seen == uncounted, "{seen}");
        let usage = status.tables.get("unregistered").context("no table")?;
        ensure!((usage.used, usage.capacity) == (ROOM, ROOM), "{usage:?}");
        let setting = "kernel.max_unregistered";
        let told = status.warnings.iter().any(|text| text.contains(setting));
        ensure!(told, "{:?}", status.warnings);
        Ok(())
    })?;
    www.count(10).run()?.all_refused(10)?;
    games.count(10).run()?.all_connected(10)?;
    guard.expect_attempts(GAMES.1, "direct", 11)?;
    guard.expect_sum(ROOM + 20)?;
    sink.expect_accepted(NEWCOMERS + 11)
}

#[test]
fn a_crowd_that_finds_no_room_does_not_fill_the_daemons_memory() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let config = Config::observe(&lab)
        .extra(SMALL)
        .extra("max_unregistered = 64\n");
    let guard = Guard::start(&lab, &config)?;
    let crowd = Crowd::of(&lab);
    crowd.users(0, NEWCOMERS)?.all_connected(NEWCOMERS)?;
    // All of them may have come before the last place was taken.
    until("somebody to find no room", TOLD, || {
        crowd.users(2 * ROOM, 4)?.all_connected(4)?;
        let sources = usage_of(&guard, "sources")?;
        ensure!(sources.refused > 0, "{sources:?}");
        Ok(())
    })?;
    is_announced(&guard, "sources", "kernel.max_sources")?;
    // Everybody's every attempt is an event now, since nobody can be registered. What is kept of each
    // is kept of all; what the daemon takes for other reasons, such as the database's memory once a
    // minute is written, it takes once.
    let mut grown = Vec::new();
    while grown.len() < 4 {
        let bytes = growth(&guard, &crowd)?;
        if bytes < 1 << 20 {
            return Ok(());
        }
        grown.push(bytes);
    }
    bail!("the daemon grew by {grown:?} bytes each time")
}

/// By how many bytes the daemon grows while thousands of events are heard.
fn growth(guard: &Guard, crowd: &Crowd) -> Result<u64> {
    let before = guard.status()?;
    let size = resident(before.pid)?;
    for _ in 0..10 {
        crowd.users(0, NEWCOMERS)?.all_connected(NEWCOMERS)?;
    }
    let seen =
        |status: &Status| status.events_received + status.counted("events_dropped_ring_full");
    until("the events", SOON, || {
        let more = seen(&guard.status()?) - seen(&before);
        ensure!(more >= 9 * (NEWCOMERS - ROOM), "{more}");
        Ok(())
    })?;
    Ok(resident(before.pid)?.saturating_sub(size))
}

/// Memory that a process has, bytes.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no RssAnon")?.parse::<u64>()? * 1024)
}
