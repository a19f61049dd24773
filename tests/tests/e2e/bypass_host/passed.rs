//! Sockets that another user made.

use anyhow::Result;
use flowguard_tests::{client::Outcome, config::Config, guard::Guard, lab::Lab, process::Job};

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

#[test]
fn bypass_12_passed_descriptor_counts_for_who_connects_it() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    holds(&lab, &guard, (GAMES.1, "direct", 1), || passed_on(&lab))
}

#[test]
fn bypass_14_socket_made_before_setuid_counts_for_who_connects_it() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let tried = || with_the_rights_of_games(&lab, &["became", V4, V6]);
    holds(&lab, &guard, (GAMES.1, "direct", 2), tried)
}
