//! Danger of being blacklisted, for each address that mail servers see.

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    client::Client,
    config::Config,
    container::Container,
    guard::Guard,
    lab::{Lab, UPLINK},
    mta::{Postfix, swaks_to},
    place::Place,
    refuser::{self, Refuser},
    report::{Reply, SendingAddress},
    users::User,
    wait::{SOON, until},
};
use rusqlite::Connection;

use crate::WWW;

const SHOP: (&str, &str) = ("container:shop", "fge0");
const FORUM: (&str, &str) = ("container:forum", "fge1");

/// A rule that slows down at first, and stops the next time; three rejections are danger.
const RULES: &str = r#"
[[rule]]
name = "fan-out"
sources = ["*"]
class = "direct"
window = "5m"
min_attempts = 30
min_destinations = 20
ladder = "twice"

[[ladder]]
name = "twice"
steps = [
    { action = "limit", limit = { burst = 1000, rate = 1000, per = "1m" }, for = "1h" },
    { action = "block", for = "1h" },
]

[risk]
rejection = 2.0
danger = 5.0
"#;

/// The network of a container's link.
fn network(container: &Container<'_>) -> String {
    container.gateway().trim_end_matches('1').to_owned() + "0/24"
}

fn network6(container: &Container<'_>) -> String {
    container.gateway6().trim_end_matches('1').to_owned() + "/64"
}

/// What becomes of these networks.
fn translated(networks: &[(String, &str)]) -> String {
    let entries = networks
        .iter()
        .map(|(from, to)| format!("{{ from = {from:?}, to = {to:?} }}"));
    let entries: Vec<_> = entries.collect();
    format!("\n[sending]\ntranslated = [{}]\n", entries.join(", "))
}

/// Waits until so many points are the risk of an address.
fn await_risk(guard: &Guard<'_>, address: Option<&str>, points: f64) -> Result<SendingAddress> {
    let what = format!("{points} points of risk of {address:?}");
    until(&what, SOON, || {
        let sending = guard.status()?.sending;
        let found = sending.iter().find(|s| s.sent_from.as_deref() == address);
        let found = found.with_context(|| format!("{sending:?}"))?;
        // It fades, slowly.
        ensure!((found.risk - points).abs() < 0.1, "{sending:?}");
        Ok(found.clone())
    })
}

fn is_refused(place: &Place) -> Result<()> {
    swaks_to(place, "bob@elsewhere.test", "hello", &[])?.expect_code(24)?;
    Ok(())
}

/// Attempts until the rule fits, of a client who has made some. None is left over for the verdict.
fn fan_out(client: &Client, made: u64) -> Result<()> {
    let client = client.clone().to(&["198.18.0.1-198.18.0.24"]);
    client.count(30 - made).run()?.all_connected(30 - made)
}

fn last_reply(guard: &Guard<'_>, source: &str, count: usize) -> Result<Reply> {
    until(&format!("{count} replies"), SOON, || {
        let replies = guard.show(source)?.replies;
        ensure!(replies.len() == count, "{replies:?}");
        Ok(replies[0].clone())
    })
}

#[test]
fn complaints_about_one_address_leave_those_alone_who_send_from_another() -> Result<()> {
    let lab = Lab::new()?;
    let _postfix = Postfix::start(&lab)?;
    let (shop, forum) = (
        Container::new(&lab, "shop", SHOP.1)?,
        Container::new(&lab, "forum", FORUM.1)?,
    );
    let networks = [
        (network(&shop), "192.0.2.7"),
        (network(&forum), "192.0.2.8"),
    ];
    let config = Config::enforce(&lab)
        .rules(RULES)
        .extra(&translated(&networks));
    let guard = Guard::start(&lab, &config)?;
    guard.await_uplink(UPLINK)?;
    for (source, interface) in [SHOP, FORUM] {
        guard.await_edge(interface)?;
        guard.await_identity(source, &format!("edge {interface}"))?;
    }
    guard.ok(&["allow", WWW.1])?;
    guard.await_registered(WWW.1)?;
    for _ in 0..3 {
        is_refused(&shop.place())?;
    }
    is_refused(&forum.place())?;
    is_refused(&lab.place("users")?.user(User::named(WWW.0)?))?;
    let shops = await_risk(&guard, Some("192.0.2.7"), 6.0)?;
    assert_eq!(
        (&*shops.level, shops.words, shops.listed),
        ("danger", 0.0, false)
    );
    for (address, points) in [("192.0.2.8", 2.0), ("100.64.0.1", 2.0)] {
        assert_eq!(await_risk(&guard, Some(address), points)?.level, "calm");
    }
    let told = guard.ok(&["status"])?;
    ensure!(
        told.contains("192.0.2.7") && !told.contains("192.0.2.8"),
        "{told}"
    );
    // Both do the same. Had they one address, the forum would have a quarter of the danger.
    fan_out(&shop.client(), 3)?;
    fan_out(&forum.client(), 1)?;
    guard.await_verdict(SHOP.0, Some("block"))?;
    guard.await_verdict(FORUM.0, Some("limit"))
}

#[test]
fn those_who_share_an_address_share_its_danger() -> Result<()> {
    let lab = Lab::new()?;
    let _postfix = Postfix::start(&lab)?;
    let (shop, forum) = (
        Container::new(&lab, "shop", SHOP.1)?,
        Container::new(&lab, "forum", FORUM.1)?,
    );
    let networks = [("10.77.0.0/16".to_owned(), "192.0.2.7")];
    let config = Config::enforce(&lab)
        .rules(RULES)
        .extra(&translated(&networks));
    let guard = Guard::start(&lab, &config)?;
    for (source, interface) in [SHOP, FORUM] {
        guard.await_edge(interface)?;
        guard.await_identity(source, &format!("edge {interface}"))?;
    }
    for _ in 0..3 {
        is_refused(&shop.place())?;
    }
    is_refused(&forum.place())?;
    is_refused(&forum.place())?;
    await_risk(&guard, Some("192.0.2.7"), 10.0)?;
    fan_out(&forum.client(), 2)?;
    guard.await_verdict(FORUM.0, Some("block"))
}

#[test]
fn what_is_told_of_translation_follows_a_reload_and_nonsense_changes_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let _postfix = Postfix::start(&lab)?;
    let shop = Container::new(&lab, "shop", SHOP.1)?;
    let config = || Config::observe(&lab).rules(RULES);
    let mut guard = Guard::start(&lab, &config())?;
    guard.await_edge(SHOP.1)?;
    guard.await_identity(SHOP.0, "edge fge0")?;
    is_refused(&shop.place())?;
    await_risk(&guard, None, 2.0)?;
    let reply = last_reply(&guard, SHOP.0, 1)?;
    assert_eq!(reply.client, Some(shop.address()));
    assert_eq!(reply.sent_from, None);
    let told = guard.ok(&["show", SHOP.0])?;
    let unknown = format!("unknown ({})", shop.address());
    ensure!(told.contains(&unknown), "{told}");
    for (address, expected) in [("192.0.2.7", 1), ("192.0.2.8", 2)] {
        let networks = [(network(&shop), address)];
        let with = config().extra(&translated(&networks));
        guard.configure(&with.to_string())?;
        guard.ok(&["reload"])?;
        is_refused(&shop.place())?;
        await_risk(&guard, Some(address), 2.0)?;
        let reply = last_reply(&guard, SHOP.0, 1 + expected)?;
        assert_eq!(reply.sent_from.as_deref(), Some(address));
    }
    for (from, to, words) in [
        (network(&shop), "2001:db8::7", "are not of one family"),
        (
            shop.gateway() + "/24",
            "192.0.2.9",
            "bits set behind its prefix",
        ),
        (network(&shop), "mail.example.com", "is no address"),
    ] {
        let with = config().extra(&translated(&[(from, to)]));
        guard.configure(&with.to_string())?;
        let refused = guard.cli(&["reload"])?.expect_code(2)?;
        for word in ["flowguard.toml", "sending.translated", words] {
            ensure!(refused.stderr.contains(word), "{word}: {refused}");
        }
    }
    is_refused(&shop.place())?;
    await_risk(&guard, Some("192.0.2.8"), 4.0)?;
    guard.terminate()?;
    let database = Connection::open(lab.dir().join("state.db"))?;
    let mut query = database
        .prepare("SELECT sent_from, sum(count) FROM reply GROUP BY sent_from ORDER BY sent_from")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(String, i64)> = rows.collect::<Result<_, _>>()?;
    let expected = [("", 1), ("192.0.2.7", 1), ("192.0.2.8", 2)];
    assert_eq!(
        rows,
        expected.map(|(address, count)| (address.to_owned(), count))
    );
    Ok(())
}

#[test]
fn of_ipv6_addresses_a_network_of_64_bits_is_one() -> Result<()> {
    let lab = Lab::new()?;
    let _refuser = Refuser::start(
        lab.world(),
        "554 5.7.1 Service unavailable; blocked using zen.spamhaus.org",
    )?;
    let (shop, forum) = (
        Container::new(&lab, "shop", SHOP.1)?,
        Container::new(&lab, "forum", FORUM.1)?,
    );
    let networks = [
        (network6(&shop), "2001:db8:64::7"),
        (network6(&forum), "2001:db8:64::8"),
        (network(&forum), "192.0.2.8"),
    ];
    let config = Config::observe(&lab).extra(&translated(&networks));
    let guard = Guard::start(&lab, &config)?;
    lab.await_ipv6()?;
    for (container, (source, interface)) in [(&shop, SHOP), (&forum, FORUM)] {
        container.await_ipv6()?;
        guard.await_edge(interface)?;
        guard.await_identity(source, &format!("edge {interface}"))?;
        let said = refuser::ask(container.netns(), "2001:db8:1::25")?;
        ensure!(said.starts_with("554 "), "{said}");
    }
    refuser::ask(forum.netns(), "198.18.0.25")?;
    let shared = await_risk(&guard, Some("2001:db8:64::/64"), 2.0)?;
    ensure!(
        (shared.words - 2.0).abs() < 0.1 && shared.rejections == 0.0,
        "{shared:?}"
    );
    await_risk(&guard, Some("192.0.2.8"), 1.0)?;
    for (source, address) in [(SHOP.0, "2001:db8:64::7"), (FORUM.0, "192.0.2.8")] {
        let replies = guard.show(source)?.replies;
        assert_eq!(replies[0].sent_from.as_deref(), Some(address));
    }
    Ok(())
}
