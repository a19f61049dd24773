//! Connections go to the smarthost, and the program is none the wiser.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use flowguard_tests::{
    client::{Client, ONE_RETRANSMISSION},
    config::Config,
    container::Container,
    guard::Guard,
    lab::{Lab, UNGUARDED_PORT, UPLINK},
    sink::Sink,
    users::User,
    wait::{SOON, until},
};

use super::{WEB, guard_of_web};
use crate::{GAMES, WWW};

const SMARTHOSTS: [&str; 2] = ["198.19.0.25", "2001:db8:1::25"];
const BOTH: &str = r#"smarthosts = ["198.19.0.25", "[2001:db8:1::25]:2525"]"#;
const RULE: &str = r#"
[[rule]]
name = "by-the-smarthost"
sources = ["*"]
class = "direct"
window = "5m"
min_attempts = 30
action = "redirect"
for = "1h"
"#;

/// Connects three times to each of these, whom the kernel names in its answers.
fn reaches(client: &Client, to: &[(&str, &str)]) -> Result<()> {
    let addresses: Vec<_> = to.iter().map(|(address, _)| *address).collect();
    let count = 3 * to.len() as u64;
    let outcome = client
        .clone()
        .to(&addresses)
        .count(count)
        .ask_peers()
        .run()?;
    outcome.all_connected(count)?;
    let named: BTreeMap<_, _> = to.iter().map(|(_, peer)| (peer.to_string(), 3)).collect();
    assert_eq!(outcome.peers, named);
    Ok(())
}

/// One server, however it is written, and another.
const WORLD: [(&str, &str); 3] = [
    ("198.18.0.1", "198.18.0.1:25"),
    ("::ffff:198.18.0.2", "[::ffff:198.18.0.2]:25"),
    ("2001:db8:1::1", "[2001:db8:1::1]:25"),
];

/// Lets somebody connect before, while and after they are redirected.
fn is_redirected(guard: &Guard<'_>, sink: &Sink, client: &Client, who: &str) -> Result<()> {
    let at_smarthosts = || SMARTHOSTS.map(|address| sink.accepted_at(address));
    reaches(client, &WORLD)?;
    sink.expect_accepted(9)?;
    assert_eq!(at_smarthosts(), [0, 0]);
    guard.ok(&["block", who, "--redirect", "--reason", "spam"])?;
    reaches(client, &WORLD)?;
    sink.expect_accepted(18)?;
    assert_eq!(at_smarthosts(), [6, 3]);
    let totals = guard.await_totals(who, "direct", "18 accepted", |t| t.established == 18)?;
    assert_eq!(
        (totals.attempts, totals.redirected, totals.denied),
        (18, 9, 0),
        "{totals:?}"
    );
    // What was redirected is nowhere else, and what goes there by itself is as always.
    assert_eq!(guard.totals(who, "relay")?, Default::default());
    client
        .clone()
        .to(&SMARTHOSTS)
        .count(2)
        .run()?
        .all_connected(2)?;
    let relay = guard.await_totals(who, "relay", "2 accepted", |t| t.established == 2)?;
    assert_eq!((relay.attempts, relay.redirected), (2, 0), "{relay:?}");
    // Other ports and classes go where they always went.
    let port = UNGUARDED_PORT;
    let elsewhere = [("198.18.0.1", "198.18.0.1:8080")];
    reaches(&client.clone().port(port), &elsewhere)?;
    reaches(
        &client.clone().port(587),
        &[("198.18.0.1", "198.18.0.1:587")],
    )?;
    sink.expect_accepted(26)?;
    assert_eq!(at_smarthosts(), [7, 4]);
    guard.ok(&["unblock", who])?;
    reaches(client, &WORLD)?;
    assert_eq!(at_smarthosts(), [7, 4]);
    guard.expect_attempts(who, "direct", 27)?;
    guard.expect_sum(32)
}

#[test]
fn a_host_user_is_sent_to_the_smarthost() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab).guard(BOTH))?;
    guard.await_uplink(UPLINK)?;
    let client = lab.client(User::named(WWW.0)?)?;
    // Known from the start, so that what comes of its first attempts is seen.
    guard.ok(&["block", WWW.1, "--for", "1h"])?;
    guard.ok(&["unblock", WWW.1])?;
    is_redirected(&guard, &sink, &client, WWW.1)
}

#[test]
fn a_container_is_sent_to_the_smarthost() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let guard = guard_of_web(&lab, &Config::observe(&lab).guard(BOTH))?;
    is_redirected(&guard, &sink, &web.client(), WEB.0)
}

#[test]
fn what_cannot_be_sent_elsewhere_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let only4 = Config::observe(&lab).guard(r#"smarthosts = ["198.19.0.25"]"#);
    let guard = guard_of_web(&lab, &only4)?;
    guard.ok(&["block", WEB.0, "--redirect"])?;
    // Packets that no connect hook sees, and a family without a smarthost.
    for to in ["198.18.0.1", "2001:db8:1::1"] {
        let hidden = web.hidden_client().to(&[to]).timeout(ONE_RETRANSMISSION);
        hidden.run()?.all_timed_out(1)?;
    }
    let six = web.client().to(&["2001:db8:1::1"]).count(4).run()?;
    six.all_refused(4)?;
    let totals = guard.expect_attempts(WEB.0, "direct", 6)?;
    assert_eq!((totals.denied, totals.redirected), (6, 0), "{totals:?}");
    sink.expect_accepted(0)?;
    reaches(&web.client(), &WORLD[..2])?;
    sink.expect_accepted(6)?;
    guard.expect_sum(12)
}

#[test]
fn a_redirection_needs_somewhere_to_go() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let config = |hosts: &str| Config::observe(&lab).guard(hosts).to_string();
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let refused = guard.cli(&["block", WWW.1, "--redirect"])?.expect_code(2)?;
    assert!(refused.stderr.contains("guard.smarthosts"), "{refused}");
    assert_eq!(guard.verdicts()?, []);
    // One that is taken away leaves nobody free, and nobody in the dark.
    guard.configure(&config(BOTH))?;
    guard.ok(&["reload"])?;
    guard.ok(&["block", WWW.1, "--redirect"])?;
    let client = lab.client(User::named(WWW.0)?)?;
    reaches(&client, &WORLD)?;
    guard.configure(&config("smarthosts = []"))?;
    guard.ok(&["reload"])?;
    client.clone().count(3).run()?.all_refused(3)?;
    until("a warning", SOON, || {
        let warnings = guard.status()?.warnings;
        let found = warnings
            .iter()
            .any(|text| text.contains("guard.smarthosts"));
        ensure!(found, "{warnings:?}");
        Ok(())
    })?;
    guard.ok(&["unblock", WWW.1])?;
    client.run()?.all_connected(1)
}

#[test]
fn a_rule_redirects_in_enforce_mode_and_notes_in_observe_mode() -> Result<()> {
    for (config, redirected) in [
        (Config::enforce as fn(&Lab) -> Config, 9),
        (Config::observe, 0),
    ] {
        let lab = Lab::new()?;
        let sink = lab.sink()?;
        let guard = Guard::start(&lab, &config(&lab).guard(BOTH).rules(RULE))?;
        let client = lab.client(User::named(WWW.0)?)?;
        client.clone().count(30).run()?.all_connected(30)?;
        guard.await_verdict(WWW.1, Some("redirect"))?;
        reaches(&client, &WORLD)?;
        let other = lab.client(User::named(GAMES.0)?)?;
        reaches(&other, &WORLD)?;
        sink.expect_accepted(48)?;
        let there: u64 = SMARTHOSTS.iter().map(|at| sink.accepted_at(at)).sum();
        assert_eq!(there, redirected);
        let totals = guard.expect_attempts(WWW.1, "direct", 39)?;
        assert_eq!(
            (totals.redirected, totals.would_deny, totals.denied),
            (redirected, 9 - redirected, 0)
        );
    }
    Ok(())
}
