//! Open connections stop at the next packet, in both directions, and other people's go on.

use anyhow::{Result, ensure};
use flowguard_tests::{
    client::Client,
    config::Config,
    container::Container,
    guard::Guard,
    lab::{Lab, UPLINK},
    place::Place,
    session::{Servers, Session, are_stopped},
    users::User,
    wait::{SOON, until},
};

use super::{WEB, guard_of_web};
use crate::{GAMES, WWW};

const V4: &str = "198.18.0.1";
const V6: &str = "2001:db8:1::1";
const RULE: &str = r#"
[[rule]]
name = "cut-off"
sources = ["*"]
class = "direct"
window = "5m"
min_attempts = 30
action = "sever"
for = "1h"
"#;

/// A host user's sessions in both families.
fn sessions<'lab>(lab: &'lab Lab, servers: &Servers, user: &str) -> Result<Vec<Session<'lab>>> {
    let place = lab.place("users")?.user(User::named(user)?);
    let open = |to: &&str| Session::open(lab, servers, (&place, lab.host()), to);
    [V4, V6].iter().map(open).collect()
}

fn of_container<'lab>(
    lab: &'lab Lab,
    servers: &Servers,
    (container, place): (&Container<'_>, &Place),
) -> Result<Vec<Session<'lab>>> {
    container.await_ipv6()?;
    let open = |to: &&str| Session::open(lab, servers, (place, container.netns()), to);
    [V4, V6].iter().map(open).collect()
}

/// Severs somebody by hand and lets go again, while others talk on.
fn stops_and_goes_on<'lab>(
    guard: &Guard<'_>,
    who: &str,
    (severed, others): (&mut [Session<'lab>], &mut [Session<'lab>]),
    client: &Client,
) -> Result<()> {
    for session in severed.iter_mut().chain(others.iter_mut()) {
        session.goes_on()?;
    }
    // What is merely blocked talks on.
    guard.ok(&["block", who])?;
    for session in severed.iter_mut() {
        session.goes_on()?;
    }
    guard.ok(&["block", who, "--sever"])?;
    are_stopped(severed)?;
    client.clone().count(5).run()?.all_refused(5)?;
    for session in others.iter_mut() {
        session.goes_on()?;
    }
    guard.ok(&["unblock", who])?;
    for session in severed.iter_mut().chain(others.iter_mut()) {
        session.catches_up()?;
        session.goes_on()?;
    }
    Ok(())
}

#[test]
fn a_host_users_connections_stop() -> Result<()> {
    let lab = Lab::new()?;
    let servers = Servers::start(lab.world())?;
    // However busy the machine is, nothing is given up before it may go on.
    lab.host().sysctl("net/ipv4/tcp_retries2", "200")?;
    let guard = guard_of_users(&lab)?;
    let mut severed = sessions(&lab, &servers, WWW.0)?;
    let mut others = sessions(&lab, &servers, GAMES.0)?;
    let client = lab.client(User::named(WWW.0)?)?;
    stops_and_goes_on(&guard, WWW.1, (&mut severed, &mut others), &client)
}

/// A guard that knows both users: who is not known yet is not looked at.
fn guard_of_users(lab: &Lab) -> Result<Guard<'_>> {
    let guard = Guard::start(lab, &Config::observe(lab))?;
    guard.await_uplink(UPLINK)?;
    for user in [WWW.1, GAMES.1] {
        guard.ok(&["block", user])?;
        guard.ok(&["unblock", user])?;
    }
    Ok(guard)
}

#[test]
fn a_host_users_connections_are_given_up_within_seconds() -> Result<()> {
    let lab = Lab::new()?;
    let servers = Servers::start(lab.world())?;
    let guard = guard_of_users(&lab)?;
    let mut severed = sessions(&lab, &servers, WWW.0)?;
    guard.ok(&["block", WWW.1, "--sever"])?;
    for session in &mut severed {
        session.is_given_up()?;
    }
    Ok(())
}

#[test]
fn a_containers_connections_stop_hidden_or_not() -> Result<()> {
    let lab = Lab::new()?;
    let servers = Servers::start(lab.world())?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let other = Container::new(&lab, "other", "fge1")?;
    let guard = guard_of_web(&lab, &Config::observe(&lab))?;
    guard.await_edge("fge1")?;
    guard.await_identity("container:other", "edge fge1")?;
    let hidden = Place::default().netns(web.netns());
    let mut severed = of_container(&lab, &servers, (&web, &web.place()))?;
    severed.extend(of_container(&lab, &servers, (&web, &hidden))?);
    let mut others = of_container(&lab, &servers, (&other, &other.place()))?;
    stops_and_goes_on(&guard, WEB.0, (&mut severed, &mut others), &web.client())
}

#[test]
fn a_severed_connection_goes_on_when_its_time_is_over() -> Result<()> {
    let lab = Lab::new()?;
    let servers = Servers::start(lab.world())?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let mut guard = guard_of_web(&lab, &Config::observe(&lab))?;
    let mut sessions = of_container(&lab, &servers, (&web, &web.place()))?;
    guard.ok(&["block", WEB.0, "--sever", "--for", "10s"])?;
    // The kernel keeps the time by itself.
    guard.kill()?;
    are_stopped(&mut sessions)?;
    for session in &mut sessions {
        session.catches_up()?;
        session.goes_on()?;
    }
    Ok(())
}

/// Tries often enough for [`RULE`].
fn convict(guard: &Guard<'_>, client: &Client) -> Result<()> {
    client.clone().count(30).run()?.all_connected(30)?;
    guard.await_verdict(WWW.1, Some("sever"))
}

#[test]
fn a_rule_severs_in_enforce_mode() -> Result<()> {
    let lab = Lab::new()?;
    let servers = Servers::start(lab.world())?;
    lab.host().sysctl("net/ipv4/tcp_retries2", "200")?;
    let guard = Guard::start(&lab, &Config::enforce(&lab).rules(RULE))?;
    guard.await_uplink(UPLINK)?;
    let client = lab.client(User::named(WWW.0)?)?;
    // The first attempts make the user known.
    client.clone().count(1).run()?.all_connected(1)?;
    guard.await_registered(WWW.1)?;
    let mut severed = sessions(&lab, &servers, WWW.0)?;
    let mut others = sessions(&lab, &servers, GAMES.0)?;
    convict(&guard, &client)?;
    are_stopped(&mut severed)?;
    for session in &mut others {
        session.goes_on()?;
    }
    client.count(5).run()?.all_refused(5)?;
    until("38 attempts, 5 of them denied", SOON, || {
        let totals = guard.totals(WWW.1, "direct")?;
        ensure!((totals.attempts, totals.denied) == (38, 5), "{totals:?}");
        Ok(())
    })
}

#[test]
fn a_rule_severs_nothing_in_observe_mode() -> Result<()> {
    let lab = Lab::new()?;
    let servers = Servers::start(lab.world())?;
    let guard = Guard::start(&lab, &Config::observe(&lab).rules(RULE))?;
    guard.await_uplink(UPLINK)?;
    let client = lab.client(User::named(WWW.0)?)?;
    client.clone().count(1).run()?.all_connected(1)?;
    guard.await_registered(WWW.1)?;
    let mut sessions = sessions(&lab, &servers, WWW.0)?;
    convict(&guard, &client)?;
    for session in &mut sessions {
        session.goes_on()?;
    }
    client.count(5).run()?.all_connected(5)?;
    let totals = guard.expect_attempts(WWW.1, "direct", 38)?;
    assert_eq!((totals.denied, totals.would_deny), (0, 5));
    Ok(())
}
