//! Other ports, other destinations, and very many at once.

use std::time::{Duration, Instant};

use anyhow::Result;
use flowguard_tests::{config::Config, guard::Guard, lab::Lab, sink::Sink, users::User};

use super::is_counted_and_refused;
use crate::{GAMES, WWW};

/// All the ways to write this host's own server.
const LOOPBACK: [&str; 7] = [
    "127.0.0.1",
    "127.45.6.7",
    "0.0.0.0",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:0.0.0.0",
];

#[test]
fn bypass_16_loopback() -> Result<()> {
    let lab = Lab::new()?;
    let sink = Sink::start(lab.host(), &[25])?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let www = lab.client(User::named(WWW.0)?)?.to(&LOOPBACK).count(14);
    let games = lab.client(User::named(GAMES.0)?)?.to(&LOOPBACK).count(7);
    www.run()?.all_connected(14)?;
    games.run()?.all_connected(7)?;
    guard.expect_attempts(WWW.1, "relay", 14)?;
    guard.expect_attempts(GAMES.1, "relay", 7)?;
    guard.ok(&["block", WWW.1, "--class", "relay"])?;
    www.run()?.all_refused(14)?;
    games.run()?.all_connected(7)?;
    let blocked = guard.expect_attempts(WWW.1, "relay", 28)?;
    assert_eq!(blocked.denied, 14);
    let free = guard.expect_attempts(GAMES.1, "relay", 14)?;
    assert_eq!(free.denied, 0);
    sink.expect_accepted(28)?;
    guard.expect_sum(42)
}

#[test]
fn bypass_17_submission_ports() -> Result<()> {
    let lab = Lab::new()?;
    let args = [
        "plain",
        "tcp",
        "198.18.0.1:465",
        "198.18.0.1:587",
        "198.18.0.1:2525",
        "[2001:db8:1::1]:465",
        "[2001:db8:1::1]:587",
        "[2001:db8:1::1]:2525",
    ];
    is_counted_and_refused(&lab, ("submission", 6), &args)
}

/// A ceiling that lets no further connection through within a minute.
const CEILING: &str = "[ceilings]\ndirect = { burst = 300, rate = 60, per = \"1h\" }\n";
const BURST: u64 = 300;
const TRIED: u64 = 10_000;

/// Lets www-data make [`TRIED`] connections as fast as possible, and checks that [`BURST`] pass.
fn stops_at_the_ceiling(lab: &Lab, guard: &Guard<'_>, before: u64) -> Result<()> {
    let sink = lab.sink()?;
    let start = Instant::now();
    let client = lab
        .client(User::named(WWW.0)?)?
        .to(&["198.18.0.1-198.18.0.40", "2001:db8:1::1"]);
    let outcome = client.count(TRIED).concurrency(8).run()?;
    let took = start.elapsed();
    // Attempts while nobody listened count as well.
    let left = BURST - before;
    outcome.split(left, TRIED - left)?;
    assert!(took < Duration::from_secs(60), "{took:?}: another passes");
    let totals = guard.expect_attempts(WWW.1, "direct", before + TRIED)?;
    assert_eq!((totals.denied, totals.would_deny), (TRIED - left, 0));
    sink.expect_accepted(left)?;
    guard.expect_sum(before + TRIED)
}

#[test]
fn bypass_18_burst() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::enforce(&lab).extra(CEILING))?;
    // Known to the guard from now on. Nobody listens yet.
    lab.client(User::named(WWW.0)?)?.run()?.all_unanswered(1)?;
    guard.await_registered(WWW.1)?;
    stops_at_the_ceiling(&lab, &guard, 1)
}

#[test]
fn bypass_18_burst_of_a_stranger() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::enforce(&lab).extra(CEILING))?;
    stops_at_the_ceiling(&lab, &guard, 0)
}
