//! Tricks with uids.

use anyhow::{Context as _, Result};
use flowguard_tests::{config::Config, guard::Guard, lab::Lab, users::User};

use super::{V4, V6, attempt, holds, home, trick, with_the_rights_of_games};
use crate::{GAMES, WWW};

#[test]
fn bypass_10_user_namespace() -> Result<()> {
    // The host's exempt root, and somebody else.
    let somebody = User::named(GAMES.0)?.uid;
    for inside in ["0".to_owned(), somebody.to_string()] {
        let lab = Lab::new()?;
        let guard = Guard::start(&lab, &Config::observe(&lab))?;
        let place = home(&lab, WWW.0)?;
        let tried = || attempt(trick(&lab, &place, &["unshared", &inside, V4, V6])?);
        holds(&lab, &guard, (WWW.1, "direct", 2), tried)
            .with_context(|| format!("as uid {inside}"))?;
    }
    Ok(())
}

#[test]
fn bypass_14_real_uid_is_not_the_filesystem_uid() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let tried = || with_the_rights_of_games(&lab, &["set-user-id", V4, V6]);
    holds(&lab, &guard, (WWW.1, "direct", 2), tried)
}
