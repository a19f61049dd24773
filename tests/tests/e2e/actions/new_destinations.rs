//! Servers that a source knows stay open to it, new ones are limited.

use anyhow::{Result, ensure};
use flowguard_tests::{
    client::{Client, ONE_RETRANSMISSION, Outcome},
    config::Config,
    container::Container,
    fanout::Seed,
    guard::Guard,
    lab::Lab,
    users::User,
};

use super::{WEB, guard_of_web};
use crate::WWW;

const RULE: &str = r#"
[[rule]]
name = "slow-down"
sources = ["*"]
class = "direct"
window = "5m"
min_attempts = 30
action = "new-destinations"
limit = { burst = 3, rate = 1, per = "24h" }
for = "1h"
"#;

/// One connection to each.
fn each(client: &Client, to: &[String]) -> Result<Outcome> {
    let to: Vec<_> = to.iter().map(String::as_str).collect();
    client.clone().to(&to).count(to.len() as u64).run()
}

#[test]
fn known_servers_pass_and_new_ones_stop_at_the_burst() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let client = lab.client(User::named(WWW.0)?)?;
    let servers = Seed::of(&lab)?.distinct(14);
    let (known, new) = servers.split_at(5);
    each(&client, known)?.all_connected(5)?;
    let order = [
        "block",
        WWW.1,
        "--new-destinations",
        "1/24h",
        "--burst",
        "3",
    ];
    guard.ok(&order)?;
    for _ in 0..4 {
        each(&client, known)?.all_connected(5)?;
    }
    // The first three of them, and no others, however often they are tried.
    for _ in 0..3 {
        each(&client, new)?.split(3, 6)?;
    }
    each(&client, known)?.all_connected(5)?;
    sink.expect_accepted(39)?;
    assert_eq!(sink.addresses().len(), 8, "{:?}", sink.addresses());
    let totals = guard.expect_attempts(WWW.1, "direct", 57)?;
    assert_eq!((totals.denied, totals.would_deny), (18, 0));
    assert_eq!(totals.destinations, 8);
    // Another order begins where the limit stands; the old destinations are still known.
    guard.ok(&["block", WWW.1, "--limit", "1/24h", "--burst", "3"])?;
    each(&client, known)?.all_refused(5)?;
    guard.ok(&["unblock", WWW.1])?;
    each(&client, new)?.all_connected(9)
}

#[test]
fn a_containers_hidden_connections_are_held_to_the_same_burst() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let guard = guard_of_web(&lab, &Config::observe(&lab))?;
    let servers = Seed::of(&lab)?.distinct(14);
    let (known, new) = servers.split_at(5);
    let (seen, hidden) = (web.client(), web.hidden_client());
    // Known is who was tried, by whatever way.
    each(&seen, &known[..2])?.all_connected(2)?;
    each(&hidden, &known[2..])?.all_connected(3)?;
    let order = [
        "block",
        WEB.0,
        "--new-destinations",
        "1/24h",
        "--burst",
        "4",
    ];
    guard.ok(&order)?;
    each(&seen, &new[..2])?.all_connected(2)?;
    let hidden = hidden.timeout(ONE_RETRANSMISSION);
    for _ in 0..2 {
        let tried = each(&hidden.clone().concurrency(5), &new[2..7])?;
        ensure!((tried.connected, tried.timed_out) == (2, 3), "{tried:?}");
    }
    each(&seen, &new[7..])?.all_refused(2)?;
    for client in [&seen, &hidden] {
        each(client, known)?.all_connected(5)?;
    }
    sink.expect_accepted(21)?;
    let totals = guard.expect_attempts(WEB.0, "direct", 29)?;
    assert_eq!((totals.denied, totals.would_deny), (8, 0), "{totals:?}");
    assert_eq!(totals.destinations, 9);
    guard.expect_sum(29)
}

#[test]
fn a_rule_slows_down_and_names_its_rate() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::enforce(&lab).rules(RULE))?;
    let client = lab.client(User::named(WWW.0)?)?;
    let servers = Seed::of(&lab)?.distinct(40);
    let (known, new) = servers.split_at(30);
    each(&client, known)?.all_connected(30)?;
    guard.await_verdict(WWW.1, Some("new-destinations"))?;
    each(&client, new)?.split(3, 7)?;
    each(&client, known)?.all_connected(30)?;
    let totals = guard.expect_attempts(WWW.1, "direct", 70)?;
    assert_eq!((totals.denied, totals.would_deny), (7, 0));
    let shown = guard.ok(&["show", WWW.1])?;
    assert!(
        shown.contains("new ones are refused beyond 3 at once and then one every 1d"),
        "{shown}"
    );
    Ok(())
}

#[test]
fn in_observe_mode_a_rule_only_notes_what_it_would_refuse() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab).rules(RULE))?;
    let client = lab.client(User::named(WWW.0)?)?;
    let servers = Seed::of(&lab)?.distinct(40);
    let (known, new) = servers.split_at(30);
    each(&client, known)?.all_connected(30)?;
    guard.await_verdict(WWW.1, Some("new-destinations"))?;
    // Where it got through it is known the second time.
    for _ in 0..2 {
        each(&client, new)?.all_connected(10)?;
    }
    each(&client, known)?.all_connected(30)?;
    let totals = guard.expect_attempts(WWW.1, "direct", 80)?;
    assert_eq!((totals.denied, totals.would_deny), (0, 7));
    sink.expect_accepted(80)
}
