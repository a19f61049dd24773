//! Nothing stops when the daemon stops, nothing is lost when it starts again, and everything is
//! gone when it is told to go.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use flowguard_tests::{
    config::Config,
    container::Container,
    expect::totals,
    guard::Guard,
    lab::Lab,
    pinned::links,
    process::run,
    users::User,
    wait::{SOON, until},
};

use crate::{BACKUP, GAMES, WWW};

#[test]
fn bypass_32_a_killed_daemon_loses_no_count_and_no_verdict() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    assert!(!guard.status()?.adopted, "there was nothing to adopt");
    let (www, games) = (User::named(WWW.0)?, User::named(GAMES.0)?);
    lab.client(www)?.count(40).run()?.all_connected(40)?;
    guard.expect_attempts(WWW.1, "direct", 40)?;
    guard.ok(&["block", GAMES.1, "--for", "1h"])?;
    let before = guard.verdicts()?;
    guard.kill()?;
    lab.client(www)?
        .count(500)
        .concurrency(4)
        .run()?
        .all_connected(500)?;
    lab.client(games)?.count(20).run()?.all_refused(20)?;
    // Nobody has ever seen this one.
    lab.client(User::named(BACKUP.0)?)?
        .count(30)
        .run()?
        .all_connected(30)?;
    guard.restart()?;
    assert!(guard.status()?.adopted);
    guard.expect_attempts(WWW.1, "direct", 540)?;
    let totals = guard.expect_attempts(GAMES.1, "direct", 20)?;
    assert_eq!(totals.denied, 20);
    guard.expect_attempts(BACKUP.1, "direct", 30)?;
    guard.expect_sum(590)?;
    assert_eq!(guard.verdicts()?, before);
    lab.client(games)?.run()?.all_refused(1)
}

#[test]
fn bypass_32_a_verdict_ends_while_no_daemon_runs() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    let www = lab.client(User::named(WWW.0)?)?;
    let ordered = Instant::now();
    guard.ok(&["block", WWW.1, "--for", "3s"])?;
    guard.kill()?;
    www.clone().count(10).run()?.all_refused(10)?;
    let mut refused = 10;
    until("the end of the verdict", SOON, || {
        let outcome = www.run()?;
        refused += outcome.refused + outcome.not_permitted;
        outcome.all_connected(1)
    })?;
    let held = ordered.elapsed();
    ensure!(held >= Duration::from_secs(3), "it held for {held:?} only");
    guard.restart()?;
    assert!(guard.status()?.adopted);
    assert_eq!(guard.verdicts()?, []);
    let totals = guard.expect_attempts(WWW.1, "direct", refused + 1)?;
    assert_eq!(totals.denied, refused);
    guard.expect_sum(refused + 1)?;
    sink.expect_accepted(1)
}

/// A start puts new programs in the place of those that are attached, while connections are made.
#[test]
fn bypass_33_replacing_the_programs_under_load_misses_no_connection() -> Result<()> {
    const HOST: u64 = 20_000;
    const EDGE: u64 = 5_000;
    const BLOCKED: u64 = 10_000;
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let vm = Container::unmanaged(&lab, "fge7")?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_edge("fge7")?;
    guard.ok(&["block", GAMES.1])?;
    let host = lab
        .client(User::named(WWW.0)?)?
        .to(&["198.18.0.1-198.18.0.9"]);
    let host = host.count(HOST).concurrency(2).start()?;
    let edge = vm.hidden_client().count(EDGE).concurrency(2).start()?;
    let blocked = lab.client(User::named(GAMES.0)?)?;
    // It is refused at once: slowly enough to be there all the time.
    let blocked = blocked.count(BLOCKED).per_second(2_000).start()?;
    for _ in 0..2 {
        guard.kill()?;
        guard.restart()?;
        guard.terminate()?;
        guard.restart()?;
    }
    host.outcome()?.all_connected(HOST)?;
    edge.outcome()?.all_connected(EDGE)?;
    blocked.outcome()?.all_refused(BLOCKED)?;
    guard.expect_attempts(WWW.1, "direct", HOST)?;
    guard.expect_attempts("iface:fge7", "direct", EDGE)?;
    let totals = guard.expect_attempts(GAMES.1, "direct", BLOCKED)?;
    assert_eq!(totals.denied, BLOCKED);
    guard.expect_sum(HOST + EDGE + BLOCKED)?;
    sink.expect_accepted(HOST + EDGE)
}

#[test]
fn a_stopped_daemon_leaves_the_protection_in_place() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.ok(&["block", WWW.1])?;
    guard.terminate()?;
    lab.client(User::named(WWW.0)?)?
        .count(5)
        .run()?
        .all_refused(5)?;
    let sources = guard.sources_offline()?;
    let totals = totals(&sources, WWW.1, "direct");
    assert_eq!((totals.attempts, totals.denied), (5, 5));
    assert!(
        !guard.socket().exists(),
        "a stopped daemon takes its socket along"
    );
    Ok(())
}

#[test]
fn detach_removes_everything() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    let (www, games) = (
        lab.client(User::named(WWW.0)?)?,
        lab.client(User::named(GAMES.0)?)?,
    );
    guard.ok(&["block", WWW.1])?;
    www.run()?.all_refused(1)?;
    guard.terminate()?;
    guard.ok(&["detach"])?;
    let left = fs::read_dir(lab.pins())
        .map(Iterator::count)
        .unwrap_or_default();
    assert_eq!(left, 0, "pins are left in {}", lab.pins().display());
    www.run()?.all_connected(1)?;
    games.clone().count(10).run()?.all_connected(10)?;
    // A new beginning: what happened unguarded was not counted.
    guard.restart()?;
    assert!(!guard.status()?.adopted);
    games.count(3).run()?.all_connected(3)?;
    guard.expect_attempts(GAMES.1, "direct", 3)?;
    Ok(())
}

#[test]
fn detach_is_in_force_at_once_whoever_has_a_link_open() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let web = Container::new(&lab, "web", "fge0")?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    guard.await_identity("container:web", "edge fge0")?;
    let www = lab.client(User::named(WWW.0)?)?;
    for source in [WWW.1, "container:web"] {
        guard.ok(&["block", source])?;
    }
    for client in [&www, &web.client()] {
        client.run()?.all_refused(1)?;
    }
    guard.terminate()?;
    let open = links(&lab)?;
    guard.ok(&["detach"])?;
    for client in [www, web.client(), web.hidden_client()] {
        client.run()?.all_connected(1)?;
    }
    drop(open);
    sink.expect_accepted(3)
}

#[test]
fn verdicts_come_back_after_a_reboot_and_not_after_detach() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    let (www, games) = (
        lab.client(User::named(WWW.0)?)?,
        lab.client(User::named(GAMES.0)?)?,
    );
    guard.ok(&["block", WWW.1, "--for", "1h", "--reason", "hacked"])?;
    guard.ok(&["block", GAMES.1])?;
    guard.ok(&["unblock", GAMES.1])?;
    let before = guard.verdicts()?;
    guard.terminate()?;
    lab.reboot()?;
    // What nobody holds any more goes a moment later.
    until("a kernel without a guard", SOON, || {
        www.run()?.all_connected(1)
    })?;
    guard.restart()?;
    assert!(!guard.status()?.adopted);
    assert_eq!(guard.verdicts()?, before);
    let uid = User::named(WWW.0)?.uid;
    guard.await_identity(WWW.1, &format!("uid {uid}"))?;
    www.run()?.all_refused(1)?;
    games.run()?.all_connected(1)?;
    guard.terminate()?;
    guard.ok(&["detach"])?;
    guard.restart()?;
    assert_eq!(guard.verdicts()?, []);
    www.run()?.all_connected(1)
}

#[test]
fn another_cgroup_root_takes_effect_with_a_restart() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    let client = lab.client(User::named(WWW.0)?)?;
    client.clone().count(3).run()?.all_connected(3)?;
    let elsewhere = lab.cgroups().child("elsewhere")?;
    let root = lab.cgroups().root().display().to_string();
    let config = Config::observe(&lab).to_string();
    let line = |root: &str| format!("cgroup_root = {root:?}\n");
    ensure!(config.contains(&line(&root)), "{config}");
    let elsewhere = elsewhere.display().to_string();
    guard.configure(&config.replace(&line(&root), &line(&elsewhere)))?;
    guard.terminate()?;
    guard.restart()?;
    client.count(5).run()?.all_connected(5)?;
    let place = lab.place("elsewhere")?.user(User::named(WWW.0)?);
    lab.client_in(place).count(7).run()?.all_connected(7)?;
    guard.expect_attempts(WWW.1, "direct", 10)?;
    Ok(())
}

#[test]
fn a_guard_of_another_contract_is_left_alone_until_it_is_replaced() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    let www = lab.client(User::named(WWW.0)?)?;
    guard.ok(&["block", WWW.1])?;
    guard.terminate()?;
    let contract = lab.pins().join("maps/CONTRACT");
    let mut command = Command::new("bpftool");
    command.args(["map", "update", "pinned"]).arg(&contract);
    command.args("key 0 0 0 0 value 99 0 0 0".split(' '));
    run(&mut command, SOON)?.expect_code(0)?;
    let mut command = Command::new("bpftool");
    command.args(["map", "update", "pinned"]).arg(&contract);
    command.args("key 1 0 0 0 value 98 0 0 0".split(' '));
    run(&mut command, SOON)?.expect_code(0)?;
    for command in [&["run"][..], &["sources", "--offline"]] {
        let refused = guard.cli(command)?;
        assert_ne!(refused.code(), 0, "{refused}");
        for word in ["contract 99", "--replace"] {
            assert!(refused.stderr.contains(word), "{refused}");
        }
    }
    // It goes on working.
    www.run()?.all_refused(1)?;
    guard.restart_with(&["--replace"])?;
    assert!(!guard.status()?.adopted);
    guard.expect_sum(0)
}

#[test]
fn two_daemons_never_share_one_guard() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let pid = guard.status()?.pid;
    let second = guard.cli(&["run"])?;
    assert_ne!(second.code(), 0, "{second}");
    assert!(
        second.stderr.contains(&pid.to_string()),
        "it does not say who runs already: {second}"
    );
    ensure!(guard.status()?.pid == pid, "the first one is gone");
    // With a socket of its own it would not meet the first one there.
    let other = lab.dir().join("other.sock").display().to_string();
    for command in ["run", "detach"] {
        let refused = guard.cli(&["--socket", &other, command])?;
        assert_ne!(refused.code(), 0, "{refused}");
        let pins = lab.pins().display().to_string();
        assert!(refused.stderr.contains(&pins), "{refused}");
    }
    lab.client(User::named(WWW.0)?)?.run()?;
    guard.expect_attempts(WWW.1, "direct", 1)?;
    Ok(())
}

#[test]
fn vanished_pins_are_reported() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    assert_eq!(guard.status()?.warnings, [""; 0]);
    fs::remove_file(lab.pins().join("links/connect4"))?;
    until("a warning", SOON, || {
        let warnings = guard.status()?.warnings;
        ensure!(
            warnings.iter().any(|text| text.contains("pins")),
            "{warnings:?}"
        );
        Ok(())
    })
}

#[test]
fn two_instances_side_by_side_do_not_see_each_other() -> Result<()> {
    let (here, there) = (Lab::new()?, Lab::new()?);
    let (_here_sink, _there_sink) = (here.sink()?, there.sink()?);
    let mut first = Guard::start(&here, &Config::observe(&here))?;
    let second = Guard::start(&there, &Config::observe(&there))?;
    let user = User::named(WWW.0)?;
    here.client(user)?.count(11).run()?.all_connected(11)?;
    there.client(user)?.count(22).run()?.all_connected(22)?;
    first.ok(&["block", WWW.1])?;
    here.client(user)?.run()?.all_refused(1)?;
    there.client(user)?.run()?.all_connected(1)?;
    first.expect_attempts(WWW.1, "direct", 12)?;
    second.expect_attempts(WWW.1, "direct", 23)?;
    first.terminate()?;
    first.ok(&["detach"])?;
    there.client(user)?.run()?.all_connected(1)?;
    second.expect_attempts(WWW.1, "direct", 24)?;
    second.ok(&["block", WWW.1])?;
    there.client(user)?.run()?.all_refused(1)
}
