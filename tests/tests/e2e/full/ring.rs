//! The event ring: what is dropped is counted, and nothing else depends on it.

use anyhow::{Result, ensure};
use flowguard_tests::{
    config::Config,
    expect::totals,
    guard::Guard,
    lab::Lab,
    report::Status,
    users::User,
    wait::{SOON, until},
};

use crate::{GAMES, WWW};

/// What becomes of an event.
const FATES: [&str; 3] = [
    "events_delivered",
    "events_dropped_ring_full",
    "events_dropped_rate_limited",
];
/// A ring of one page, and no limit of events that this test reaches.
const ONE_PAGE: &str = "[kernel]\nring_bytes = 4096\n\
     events_per_source = { burst = 1000000, rate = 1000000, per = \"1s\" }\n";
/// Events that fit into one page: 88 bytes and a header of 8.
const FIT: u64 = 4_096 / 96;

fn fates(status: &Status) -> [u64; 3] {
    FATES.map(|fate| status.counted(fate))
}

/// What became of events between two looks.
fn since(before: &Status, after: &Status) -> [u64; 3] {
    let (before, after) = (fates(before), fates(after));
    std::array::from_fn(|n| after[n] - before[n])
}

/// Waits until the daemon has taken in what was delivered, and not one event more.
fn all_received(guard: &Guard<'_>) -> Result<Status> {
    until("all delivered events to be received", SOON, || {
        let status = guard.status()?;
        let delivered = status.counted("events_delivered");
        ensure!(
            status.events_received == delivered,
            "{} of {delivered}",
            status.events_received
        );
        Ok(status)
    })
}

#[test]
fn a_full_ring_of_one_page_costs_events_and_nothing_else() -> Result<()> {
    const BLAST: u64 = 2_000;
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab).extra(ONE_PAGE))?;
    let (www, games) = (
        lab.client(User::named(WWW.0)?)?,
        lab.client(User::named(GAMES.0)?)?,
    );
    www.run()?.all_connected(1)?;
    guard.await_registered(WWW.1)?;
    guard.ok(&["block", GAMES.1])?;
    let before = all_received(&guard)?;
    // Nobody reads.
    let paused = guard.pause()?;
    let blast = www.clone().count(BLAST).concurrency(2);
    blast.run()?.all_connected(BLAST)?;
    games.clone().count(BLAST).run()?.all_refused(BLAST)?;
    let sources = guard.sources_offline()?;
    assert_eq!(totals(&sources, WWW.1, "direct").attempts, BLAST + 1);
    let of_games = totals(&sources, GAMES.1, "direct");
    assert_eq!((of_games.attempts, of_games.denied), (BLAST, BLAST));
    drop(paused);
    let after = all_received(&guard)?;
    assert_eq!(since(&before, &after), [FIT, 2 * BLAST - FIT, 0]);
    sink.expect_accepted(BLAST + 1)?;
    // With a reader, as much gets through as it manages; each event has its fate.
    blast.run()?.all_connected(BLAST)?;
    let last = all_received(&guard)?;
    assert_eq!(since(&after, &last).iter().sum::<u64>(), BLAST);
    guard.expect_sum(3 * BLAST + 1)
}

#[test]
fn what_a_source_has_beyond_its_rate_of_events_is_counted() -> Result<()> {
    const ATTEMPTS: u64 = 500;
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    // One event more in a hundred hours.
    let slow = "[kernel]\nevents_per_source = { burst = 20, rate = 1, per = \"100h\" }\n";
    let guard = Guard::start(&lab, &Config::observe(&lab).extra(slow))?;
    let www = lab.client(User::named(WWW.0)?)?;
    www.run()?.all_connected(1)?;
    guard.await_registered(WWW.1)?;
    let before = all_received(&guard)?;
    www.count(ATTEMPTS).run()?.all_connected(ATTEMPTS)?;
    let after = all_received(&guard)?;
    assert_eq!(since(&before, &after), [20, 0, ATTEMPTS - 20]);
    guard.expect_sum(ATTEMPTS + 1)
}
