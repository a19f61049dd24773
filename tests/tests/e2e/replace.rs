//! Maps of another size or layout take the place of the old ones: nothing that was counted is
//! lost, nothing passes that is blocked, and nobody is refused for it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    config::Config,
    container::Container,
    expect::totals,
    guard::Guard,
    lab::Lab,
    users::User,
    wait::{SOON, until},
};

use crate::{BACKUP, GAMES, WWW};

/// A container's source and the end of its link.
const WEB: (&str, &str) = ("container:web", "fge0");

/// The folder of maps that is in force, after checking that there is no other.
fn maps(lab: &Lab) -> Result<PathBuf> {
    let in_force = fs::read_link(lab.pins().join("maps")).context("no maps are in force")?;
    let mut folders = Vec::new();
    for entry in fs::read_dir(lab.pins())? {
        let name = entry?.file_name();
        if name != "maps" && name != "links" {
            folders.push(PathBuf::from(name));
        }
    }
    ensure!(folders == [in_force.clone()], "{folders:?} are left");
    Ok(in_force)
}

#[test]
fn maps_of_another_size_take_over_everything() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let sized = |sources, edges| Config::observe(&lab).sized(sources, edges);
    let mut guard = Guard::start(&lab, &sized(64, 16))?;
    guard.await_edge(WEB.1)?;
    guard.await_identity(WEB.0, "edge fge0")?;
    let (www, games, backup) = (
        lab.client(User::named(WWW.0)?)?,
        lab.client(User::named(GAMES.0)?)?,
        lab.client(User::named(BACKUP.0)?)?,
    );
    www.clone().count(40).run()?.all_connected(40)?;
    web.client().count(30).run()?.all_connected(30)?;
    web.hidden_client().count(20).run()?.all_connected(20)?;
    guard.ok(&["block", GAMES.1, "--for", "1h"])?;
    games.clone().count(5).run()?.all_refused(5)?;
    let verdicts = guard.verdicts()?;
    let first = maps(&lab)?;

    // More, the same again, less, and each of the two alone.
    let sizes = [(128, 32), (128, 32), (64, 16), (64, 32), (100, 32)];
    let mut made = 40;
    for (round, (sources, edges)) in sizes.into_iter().enumerate() {
        let before = maps(&lab)?;
        guard.kill()?;
        // Somebody new while no daemon runs, and somebody known.
        backup.clone().count(7).run()?.all_connected(7)?;
        www.clone().port(587).count(3).run()?.all_connected(3)?;
        guard.configure(&sized(sources, edges).to_string())?;
        guard.restart()?;
        assert!(guard.status()?.adopted);
        let unchanged = round == 1;
        assert_eq!(
            maps(&lab)? == before,
            unchanged,
            "{sources} sources, {edges} edges"
        );

        www.clone().count(10).run()?.all_connected(10)?;
        made += 10;
        games.run()?.all_refused(1)?;
        web.hidden_client().count(2).run()?.all_connected(2)?;
        web.client().count(2).run()?.all_connected(2)?;
        let rounds = round as u64 + 1;
        guard.expect_attempts(WWW.1, "direct", made)?;
        guard.expect_attempts(WWW.1, "submission", 3 * rounds)?;
        guard.expect_attempts(BACKUP.1, "direct", 7 * rounds)?;
        guard.expect_attempts(WEB.0, "direct", 50 + 4 * rounds)?;
        let refused = guard.expect_attempts(GAMES.1, "direct", 5 + rounds)?;
        assert_eq!(refused.denied, 5 + rounds);
        guard.expect_sum(made + 3 * rounds + 7 * rounds + 50 + 4 * rounds + 5 + rounds)?;
        assert_eq!(guard.verdicts()?, verdicts);
        assert_eq!(guard.status()?.warnings, [""; 0]);
    }
    assert_ne!(maps(&lab)?, first);
    // Destinations that were known stay so.
    let direct = guard.totals(WWW.1, "direct")?;
    assert_eq!(direct.destinations, 1);
    guard.terminate()?;
    let offline = guard.sources_offline()?;
    assert_eq!(totals(&offline, WWW.1, "direct"), direct);
    Ok(())
}

#[test]
fn replacing_maps_under_load_misses_no_connection() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let sized = |sources| Config::observe(&lab).sized(sources, 16);
    let mut guard = Guard::start(&lab, &sized(64))?;
    guard.await_edge(WEB.1)?;
    guard.await_identity(WEB.0, "edge fge0")?;
    let many = ["198.18.0.1-198.18.0.9"];
    let www = lab.client(User::named(WWW.0)?)?.to(&many).count(20_000);
    let (load, hidden, seen) = (
        www.start()?,
        web.hidden_client().to(&many).count(10_000).start()?,
        web.client().to(&many).count(10_000).start()?,
    );
    for sources in [128, 64, 256, 64] {
        guard.restart_configured(&sized(sources))?;
    }
    load.outcome()?.all_connected(20_000)?;
    hidden.outcome()?.all_connected(10_000)?;
    seen.outcome()?.all_connected(10_000)?;
    guard.expect_attempts(WWW.1, "direct", 20_000)?;
    guard.expect_attempts(WEB.0, "direct", 20_000)?;
    guard.expect_sum(40_000)
}

#[test]
fn without_tcx_filters_are_replaced_as_well() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let sized = |sources| {
        let method = format!("\n[kernel]\nedge_attach = \"clsact\"\nmax_sources = {sources}\n");
        Config::observe(&lab).extra(&method)
    };
    let mut guard = Guard::start(&lab, &sized(64))?;
    guard.await_edge(WEB.1)?;
    guard.await_identity(WEB.0, "edge fge0")?;
    let load = web.hidden_client().count(10_000).start()?;
    guard.restart_configured(&sized(128))?;
    guard.restart_configured(&sized(64))?;
    load.outcome()?.all_connected(10_000)?;
    guard.expect_attempts(WEB.0, "direct", 10_000)?;
    guard.expect_sum(10_000)
}

/// How many descriptors the daemon has open, and how many links are pinned.
fn open_files(guard: &Guard<'_>, lab: &Lab) -> Result<(usize, usize)> {
    let count = |folder: &Path| anyhow::Ok(fs::read_dir(folder)?.count());
    let descriptors = format!("/proc/{}/fd", guard.status()?.pid);
    Ok((
        count(Path::new(&descriptors))?,
        count(&lab.pins().join("links"))?,
    ))
}

#[test]
fn a_full_registry_is_made_larger_and_not_smaller_than_it_is() -> Result<()> {
    const ROOM: u32 = 64;
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let sized = |sources| Config::observe(&lab).sized(sources, 16);
    let mut guard = Guard::start(&lab, &sized(ROOM))?;
    let unused = open_files(&guard, &lab)?;
    let users = (0..ROOM + 6)
        .map(User::unnamed)
        .collect::<Result<Vec<_>>>()?;
    let connect = |user: &User| lab.client(*user)?.run()?.all_connected(1);
    users.iter().try_for_each(connect)?;
    until("a warning of a full registry", SOON, || {
        let warnings = guard.status()?.warnings;
        ensure!(
            warnings
                .iter()
                .any(|text| text.contains("no room for more sources")),
            "{warnings:?}"
        );
        Ok(())
    })?;
    guard.expect_sum(u64::from(ROOM) + 6)?;
    let registered = |guard: &Guard<'_>| -> Result<usize> {
        Ok(guard.sources()?.iter().filter(|s| s.id.is_some()).count())
    };
    assert_eq!(registered(&guard)?, ROOM as usize);
    // One pin a map and a link, one descriptor a map that is read: a full registry costs none.
    users.iter().try_for_each(connect)?;
    until("no file to be open for a source", SOON, || {
        let open = open_files(&guard, &lab)?;
        ensure!(open == unused, "{open:?}, with no source {unused:?}");
        Ok(())
    })?;

    guard.restart_configured(&sized(2 * ROOM))?;
    until("all to be registered", SOON, || {
        let registered = registered(&guard)?;
        ensure!(registered == users.len(), "{registered}");
        Ok(())
    })?;
    assert_eq!(guard.status()?.warnings, [""; 0]);
    for user in &users {
        guard.expect_attempts(&user.nameless_source(), "direct", 2)?;
    }
    guard.expect_sum(2 * users.len() as u64)?;

    // Whoever is registered stays.
    guard.restart_configured(&sized(ROOM))?;
    let warnings = guard.status()?.warnings;
    assert!(
        warnings
            .iter()
            .any(|text| text.contains("70 sources are registered")),
        "{warnings:?}"
    );
    assert_eq!(registered(&guard)?, users.len());
    guard.expect_sum(2 * users.len() as u64)?;
    let folder = maps(&lab)?;
    guard.restart_configured(&sized(ROOM))?;
    assert_eq!(maps(&lab)?, folder, "nothing more was to be changed");
    Ok(())
}

#[test]
fn room_for_strangers_comes_back_with_a_restart() -> Result<()> {
    const ROOM: u32 = 64;
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let config = Config::observe(&lab).extra(&format!(
        "\n[kernel]\nmax_sources = 256\nmax_edges = 16\nmax_unregistered = {ROOM}\n"
    ));
    let mut guard = Guard::start(&lab, &config)?;
    let users = (0..ROOM / 2 + 8)
        .map(User::unnamed)
        .collect::<Result<Vec<_>>>()?;
    let connect = |user: &User| lab.client(*user)?.run()?.all_connected(1);
    users.iter().try_for_each(connect)?;
    for user in &users {
        guard.await_registered(&user.nameless_source())?;
    }
    let before = maps(&lab)?;
    // Most of what was counted before registration is somebody's by now.
    guard.kill()?;
    users.iter().try_for_each(connect)?;
    guard.restart()?;
    let after = maps(&lab)?;
    assert_ne!(after, before);
    users.iter().try_for_each(connect)?;
    let made = 3 * users.len() as u64;
    for user in &users {
        guard.expect_attempts(&user.nameless_source(), "direct", 3)?;
    }
    guard.expect_sum(made)?;
    // There is room for as many as before, and nothing more to be cleared up.
    let newcomers = (0..ROOM / 2)
        .map(|n| User::unnamed(1_000 + n))
        .collect::<Result<Vec<_>>>()?;
    guard.kill()?;
    newcomers.iter().try_for_each(connect)?;
    guard.restart()?;
    assert_eq!(maps(&lab)?, after);
    for user in &newcomers {
        guard.expect_attempts(&user.nameless_source(), "direct", 1)?;
    }
    guard.expect_sum(made + newcomers.len() as u64)
}

#[test]
fn evidence_that_nobody_has_read_survives_another_ring() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let ringed = |bytes| {
        let ring = format!("\n[kernel]\nmax_sources = 64\nring_bytes = {bytes}\n");
        Config::observe(&lab).extra(&ring)
    };
    let mut guard = Guard::start(&lab, &ringed(65_536))?;
    let www = lab.client(User::named(WWW.0)?)?;
    www.run()?.all_connected(1)?;
    guard.await_registered(WWW.1)?;
    guard.kill()?;
    let unread = www.count(5).run()?;
    unread.all_connected(5)?;
    guard.configure(&ringed(131_072).to_string())?;
    guard.restart()?;
    until("the evidence from before", SOON, || {
        let events = guard.events()?;
        let found = events.iter().filter(|e| e.pid() == Some(unread.pid));
        let found = found.count();
        ensure!(found == 5, "{found} of 5: {events:#?}");
        Ok(())
    })?;
    // The new ring takes events as well.
    let again = lab.client(User::named(WWW.0)?)?.run()?;
    until("an event in the new ring", SOON, || {
        let events = guard.events()?;
        let found = events.iter().any(|e| e.pid() == Some(again.pid));
        ensure!(found, "{events:#?}");
        Ok(())
    })
}
