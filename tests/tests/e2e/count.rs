//! Every connection is counted exactly once, for the right source and in the right class.

use anyhow::{Context as _, Result};
use flowguard_tests::{
    config::Config,
    guard::Guard,
    lab::{Lab, UNGUARDED_PORT},
    report::Source,
    sink::Sink,
    users::User,
    wait::{SOON, until},
};

use crate::{BACKUP, GAMES, WWW};

#[test]
fn both_families_and_mapped_addresses_are_counted_exactly() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let four = lab
        .client(User::named(WWW.0)?)?
        .to(&["198.18.0.1-198.18.0.7"]);
    four.count(30).run()?.all_connected(30)?;
    let six = lab
        .client(User::named(GAMES.0)?)?
        .to(&["2001:db8:1::1-2001:db8:1::7"]);
    six.count(20).run()?.all_connected(20)?;
    let mapped = lab
        .client(User::named(BACKUP.0)?)?
        .to(&["::ffff:198.18.0.1"]);
    mapped.count(10).run()?.all_connected(10)?;
    sink.expect_accepted(60)?;
    for ((_, source), attempts) in [(WWW, 30), (GAMES, 20), (BACKUP, 10)] {
        let totals = guard.expect_attempts(source, "direct", attempts)?;
        assert_eq!((totals.denied, totals.would_deny), (0, 0), "{source}");
    }
    guard.expect_sum(60)
}

#[test]
fn ten_thousand_connections_of_fifty_users_add_up() -> Result<()> {
    const USERS: u32 = 50;
    const EACH: u64 = 200;
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let users: Vec<User> = (0..USERS).map(User::unnamed).collect::<Result<_>>()?;
    let mut running = Vec::new();
    for user in &users {
        let client = lab
            .client(*user)?
            .to(&["198.18.0.1-198.18.0.40", "2001:db8:1::1"]);
        running.push(client.count(EACH).concurrency(2).start()?);
    }
    for client in running {
        client.outcome()?.all_connected(EACH)?;
    }
    sink.expect_accepted(EACH * u64::from(USERS))?;
    for user in users {
        guard.expect_attempts(&user.nameless_source(), "direct", EACH)?;
    }
    guard.expect_sum(EACH * u64::from(USERS))
}

#[test]
fn ports_and_destinations_make_the_class() -> Result<()> {
    let lab = Lab::new()?;
    let _world = lab.sink()?;
    let _local = Sink::start(lab.host(), &[25, 587])?;
    let guard = Guard::start(&lab, &Config::observe(&lab).trusted("198.18.7.0/24"))?;
    let client = lab.client(User::named(WWW.0)?)?;
    for (to, port, count) in [
        ("198.18.8.1", 25, 1),
        ("198.18.8.1", 465, 2),
        ("198.18.8.1", 587, 3),
        ("2001:db8:1::1", 2525, 4),
        ("198.18.7.9", 25, 5),
        ("::ffff:198.18.7.9", 587, 6),
        ("127.0.0.1", 25, 7),
        ("::1", 587, 8),
        ("198.18.8.1", UNGUARDED_PORT, 9),
    ] {
        let client = client.clone().to(&[to]).port(port).count(count);
        client.run()?.all_connected(count)?;
    }
    guard.expect_attempts(WWW.1, "direct", 1)?;
    guard.expect_attempts(WWW.1, "submission", 2 + 3 + 4)?;
    guard.expect_attempts(WWW.1, "relay", 5 + 6 + 7 + 8)?;
    guard.expect_sum(36)
}

#[test]
fn the_first_connections_ever_of_many_users_are_counted() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let users: Vec<User> = (0..60).map(User::unnamed).collect::<Result<_>>()?;
    let start = |user: &User| lab.client(*user)?.start();
    let running: Vec<_> = users.iter().map(start).collect::<Result<_>>()?;
    for client in running {
        client.outcome()?.all_connected(1)?;
    }
    for user in users {
        guard.expect_attempts(&user.nameless_source(), "direct", 1)?;
    }
    guard.expect_sum(60)
}

#[test]
fn a_burst_across_the_moment_of_registration_is_counted_exactly() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    // Longer than several ticks, so that it begins unregistered and ends registered.
    let client = lab
        .client(User::unnamed(7)?)?
        .to(&["198.18.0.1-198.18.0.9"]);
    client
        .count(8_000)
        .concurrency(8)
        .run()?
        .all_connected(8_000)?;
    guard.expect_attempts(&User::unnamed(7)?.nameless_source(), "direct", 8_000)?;
    guard.expect_sum(8_000)
}

#[test]
fn refused_connections_are_attempts_too() -> Result<()> {
    let lab = Lab::new()?;
    // Nobody listens in this world.
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    lab.client(User::named(WWW.0)?)?
        .count(12)
        .run()?
        .all_unanswered(12)?;
    let totals = guard.expect_attempts(WWW.1, "direct", 12)?;
    assert_eq!(totals.denied, 0, "the world refused them, not the guard");
    Ok(())
}

#[test]
fn destinations_are_counted_once_each() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let client = lab
        .client(User::named(WWW.0)?)?
        .to(&["198.18.0.1-198.18.0.12"]);
    client.count(120).run()?.all_connected(120)?;
    let totals = guard.expect_attempts(WWW.1, "direct", 120)?;
    // Two destinations may share a bit of the bitmap, so a few can be missing, none can be added.
    assert!((10..=12).contains(&totals.destinations), "{totals:?}");
    Ok(())
}

#[test]
fn offline_tells_what_the_daemon_tells() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    lab.client(User::named(WWW.0)?)?
        .count(30)
        .run()?
        .all_connected(30)?;
    let six = lab
        .client(User::unnamed(3)?)?
        .to(&["2001:db8:1::1"])
        .port(587);
    six.count(4).run()?.all_connected(4)?;
    guard.expect_attempts(WWW.1, "direct", 30)?;
    guard.expect_attempts(&User::unnamed(3)?.nameless_source(), "submission", 4)?;
    let essence = |mut sources: Vec<Source>| {
        sources.sort_by(|a, b| a.source.cmp(&b.source));
        let parts = sources
            .into_iter()
            .map(|s| (s.source, s.kind, s.name, s.id, s.classes));
        parts.collect::<Vec<_>>()
    };
    let online = essence(guard.sources()?);
    assert_eq!(essence(guard.sources_offline()?), online);
    guard.terminate()?;
    assert_eq!(essence(guard.sources_offline()?), online);
    Ok(())
}

#[test]
fn events_tell_who_connected_where() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let user = User::named(WWW.0)?;
    let four = lab.client(user)?.to(&["198.18.0.77"]).run()?;
    let six = lab.client(user)?.to(&["2001:db8:1::77"]).port(587).run()?;
    for (pid, hook, dst, dport, class) in [
        (four.pid, "connect4", "198.18.0.77", 25, "direct"),
        (six.pid, "connect6", "2001:db8:1::77", 587, "submission"),
    ] {
        let event = until(&format!("an event of process {pid}"), SOON, || {
            let events = guard.events()?;
            let found = events.iter().find(|event| event.pid() == Some(pid));
            found.cloned().with_context(|| format!("{events:?}"))
        })?;
        assert_eq!(
            (
                &*event.source,
                &*event.hook,
                &*event.dst,
                event.dport,
                &*event.class,
                &*event.decision
            ),
            (WWW.1, hook, dst, dport, class, "pass")
        );
        let process = event.process.unwrap();
        assert_eq!(
            (process.uid, &*process.comm),
            (user.uid.as_raw(), "fg-client")
        );
    }
    Ok(())
}
