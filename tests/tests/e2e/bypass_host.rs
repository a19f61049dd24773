//! Ways around the guard that any user of the host has: each is tried for real, and is counted
//! exactly once for exactly that user, and refused when the user is blocked.

mod cgroups;
mod classes;
mod passed;
mod sockets;
mod subordinates;
mod uids;

use std::{os::unix::fs::chown, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use flowguard_tests::{
    client::{self, Outcome},
    config::Config,
    guard::Guard,
    lab::Lab,
    place::Place,
    process::{Job, run},
    users::User,
};

use crate::{GAMES, WWW};

/// Addresses of the world in both families, and one in the clothes of the other.
const V4: &str = "198.18.0.1:25";
const V6: &str = "[2001:db8:1::1]:25";
const MAPPED: &str = "[::ffff:198.18.0.1]:25";

/// How long a trick may take, retransmissions included.
const PATIENCE: Duration = Duration::from_secs(60);

/// The helper that knows the tricks, where every user may run it.
fn program(lab: &Lab) -> Result<PathBuf> {
    client::publish(&client::built("fg-bypass-host")?, lab.dir())
}

/// The helper in a place, about to try a trick.
fn trick(lab: &Lab, place: &Place, args: &[&str]) -> Result<Command> {
    let mut command = place.command(program(lab)?)?;
    command.args(args);
    Ok(command)
}

/// Where an ordinary user's processes are.
fn home(lab: &Lab, user: &str) -> Result<Place> {
    Ok(lab.place("users")?.user(User::named(user)?))
}

/// Runs a trick to its end.
fn attempt(mut command: Command) -> Result<Outcome> {
    outcome(Job::start(&mut command)?)
}

/// What became of a trick.
fn outcome(job: Job) -> Result<Outcome> {
    let finished = job.finish(PATIENCE)?.expect_code(0)?;
    serde_json::from_str(&finished.stdout).with_context(|| finished.to_string())
}

/// Tries www-data's trick twice, with the user free and with the user blocked, and checks that
/// each time so many attempts are counted for that user and for nobody else, and that none gets
/// through the block.
fn is_counted_and_refused(lab: &Lab, (class, count): (&str, u64), args: &[&str]) -> Result<()> {
    let place = home(lab, WWW.0)?;
    let guard = Guard::start(lab, &Config::observe(lab))?;
    let tried = || attempt(trick(lab, &place, args)?);
    holds(lab, &guard, (WWW.1, class, count), tried)
}

/// Tries with a source free and with the source blocked, and checks the same.
fn holds(
    lab: &Lab,
    guard: &Guard<'_>,
    (source, class, count): (&str, &str, u64),
    tried: impl Fn() -> Result<Outcome>,
) -> Result<()> {
    let sink = lab.sink()?;
    tried()?.all_connected(count)?;
    sink.expect_accepted(count)?;
    let free = guard.expect_attempts(source, class, count)?;
    assert_eq!((free.denied, free.would_deny), (0, 0));
    guard.expect_sum(count)?;
    guard.ok(&["block", source, "--class", class])?;
    tried()?.all_refused(count)?;
    let blocked = guard.expect_attempts(source, class, 2 * count)?;
    assert_eq!((blocked.denied, blocked.would_deny), (count, 0));
    guard.expect_sum(2 * count)?;
    sink.expect_accepted(count)
}

/// A copy of the helper that runs with the rights of its owner, whoever starts it.
fn with_set_user_id(lab: &Lab, owner: User) -> Result<PathBuf> {
    let copy = lab.dir().join("set-user-id");
    if copy.exists() {
        return Ok(copy);
    }
    run(Command::new("cp").arg(program(lab)?).arg(&copy), PATIENCE)?.expect_code(0)?;
    // In this order: a change of owner takes the bit away.
    chown(&copy, Some(owner.uid.as_raw()), None)?;
    run(Command::new("chmod").arg("4755").arg(&copy), PATIENCE)?.expect_code(0)?;
    Ok(copy)
}

/// www-data runs a program that runs with the rights of games.
fn with_the_rights_of_games(lab: &Lab, args: &[&str]) -> Result<Outcome> {
    let program = with_set_user_id(lab, User::named(GAMES.0)?)?;
    let mut command = home(lab, WWW.0)?.command(program)?;
    command.args(args);
    attempt(command)
}
