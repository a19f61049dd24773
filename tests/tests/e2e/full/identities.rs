//! What leads to a source: uids, cgroups, namespaces.

use anyhow::Result;
use flowguard_tests::{
    config::Config, container::Container, guard::Guard, lab::Lab, users::User, wait::until,
};

use super::{Crowd, NEWCOMERS, ROOM, TOLD, is_announced, no_more_sources_than};
use crate::{GAMES, WWW};

/// The tables as small as can be.
pub(super) const SMALL: &str = "[kernel]\nmax_identities = 64\n";
/// What an operator raises.
pub(super) const SETTING: &str = "kernel.max_identities";

#[test]
fn users_beyond_the_table_are_counted_and_not_judged() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab).extra(SMALL))?;
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
    is_announced(&guard, "uids", SETTING)?;
    www.count(10).run()?.all_refused(10)?;
    games.count(10).run()?.all_connected(10)?;
    guard.expect_attempts(GAMES.1, "direct", 11)?;
    guard.expect_sum(NEWCOMERS + 21)?;
    no_more_sources_than(&guard, ROOM)?;
    sink.expect_accepted(NEWCOMERS + 11)
}

#[test]
fn containers_beyond_the_table_are_their_users() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab).extra(SMALL))?;
    let web = lab.place("ct-web")?.user(User::named(WWW.0)?);
    let web = lab.client_in(web);
    guard.await_registered("container:web")?;
    web.run()?.all_connected(1)?;
    guard.expect_attempts("container:web", "direct", 1)?;
    guard.ok(&["block", "container:web"])?;
    for n in 0..NEWCOMERS {
        lab.cgroups().child(&format!("ct-crowd{n}"))?;
    }
    is_announced(&guard, "cgroups", SETTING)?;
    web.count(10).run()?.all_refused(10)?;
    // The last of them, and not one that found room.
    let last = lab.place(&format!("ct-crowd{}", NEWCOMERS - 1))?;
    let last = lab.client_in(last.user(User::named(GAMES.0)?));
    last.count(10).run()?.all_connected(10)?;
    guard.expect_attempts(GAMES.1, "direct", 10)?;
    guard.expect_sum(21)?;
    sink.expect_accepted(11)
}

#[test]
fn namespaces_beyond_the_table_are_counted_and_not_judged() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let vm = Container::unmanaged(&lab, "fge7")?;
    let guard = Guard::start(&lab, &Config::observe(&lab).extra(SMALL))?;
    guard.await_edge("fge7")?;
    guard.await_identity("iface:fge7", "netns ")?;
    vm.client().run()?.all_connected(1)?;
    guard.ok(&["block", "iface:fge7"])?;
    let outcome = Crowd::of(&lab).namespaces(NEWCOMERS)?;
    let unreachable: u64 = outcome.other.values().sum();
    assert_eq!(unreachable, NEWCOMERS, "{outcome:?}");
    is_announced(&guard, "namespaces", SETTING)?;
    vm.client().count(10).run()?.all_refused(10)?;
    guard.expect_attempts("iface:fge7", "direct", 11)?;
    guard.expect_sum(NEWCOMERS + 11)?;
    sink.expect_accepted(1)?;
    until("the sources that found room, and no more", TOLD, || {
        no_more_sources_than(&guard, ROOM + 1)
    })
}
