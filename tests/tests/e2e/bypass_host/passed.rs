//! Sockets that another user made.

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    client::Outcome,
    config::Config,
    guard::Guard,
    lab::Lab,
    process::Job,
    wait::{SOON, until},
};

use super::{V4, V6, attempt, holds, home, outcome, trick, with_the_rights_of_games};
use crate::{GAMES, WWW};

/// games connects a socket that www-data made and passed on.
fn passed_on(lab: &Lab) -> Result<Outcome> {
    let at = lab.cgroups().relative();
    let lend = trick(lab, &home(lab, WWW.0)?, &["lend", &at, V4]);
    let borrow = trick(lab, &home(lab, GAMES.0)?, &["borrow", &at, V4]);
    let lender = Job::start(&mut lend?)?;
    let connected = attempt(borrow?)?;
    outcome(lender)?;
    Ok(connected)
}

/// Attempts and refusals of everybody.
fn everybodys(guard: &Guard<'_>) -> Result<(u64, u64)> {
    let sources = guard.sources()?;
    let totals = sources.iter().flat_map(|source| source.classes.values());
    Ok(totals.fold((0, 0), |(attempts, denied), totals| {
        (attempts + totals.attempts, denied + totals.denied)
    }))
}

/// Lets somebody connect somebody else's socket with neither, the one and the other of the two
/// blocked, and checks that each attempt is counted once, and that both blocks hold.
fn either_block_holds(
    lab: &Lab,
    users: [&str; 2],
    tried: impl Fn() -> Result<Outcome>,
) -> Result<()> {
    let sink = lab.sink()?;
    let guard = Guard::start(lab, &Config::observe(lab))?;
    tried()?.all_connected(1)?;
    until("one attempt", SOON, || {
        let seen = everybodys(&guard)?;
        ensure!(seen == (1, 0), "{seen:?}");
        Ok(())
    })?;
    for (denied, user) in (1..).zip(users) {
        guard.ok(&["block", user])?;
        tried()?
            .all_refused(1)
            .with_context(|| format!("{user} is blocked"))?;
        until("one denied attempt more", SOON, || {
            let seen = everybodys(&guard)?;
            ensure!(seen == (1 + denied, denied), "{seen:?}");
            Ok(())
        })?;
        guard.ok(&["unblock", user])?;
    }
    sink.expect_accepted(1)
}

#[test]
fn bypass_12_passed_descriptor_counts_for_who_connects_it() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    holds(&lab, &guard, (GAMES.1, "direct", 1), || passed_on(&lab))
}

#[test]
fn bypass_12_passed_descriptor() -> Result<()> {
    let lab = Lab::new()?;
    either_block_holds(&lab, [GAMES.1, WWW.1], || passed_on(&lab))
}

#[test]
fn bypass_14_socket_made_before_setuid_counts_for_who_connects_it() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let tried = || with_the_rights_of_games(&lab, &["became", V4, V6]);
    holds(&lab, &guard, (GAMES.1, "direct", 2), tried)
}

#[test]
fn bypass_14_socket_made_before_setuid() -> Result<()> {
    let lab = Lab::new()?;
    either_block_holds(&lab, [GAMES.1, WWW.1], || {
        with_the_rights_of_games(&lab, &["became", V4])
    })
}
