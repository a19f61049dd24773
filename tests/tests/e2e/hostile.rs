//! Names that tenants choose: shown harmless, kept as they are.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use flowguard_tests::{
    config::Config,
    container::Container,
    guard::{Guard, program},
    lab::Lab,
    process::{Job, run},
    users::User,
    wait::{SOON, until},
};
use rusqlite::Connection;
use serde_json::Value;

use crate::WWW;

/// Paints the terminal red, ends an SQL string, and more.
const NAME: &str = "\u{1b}[31mr'\";--ed\u{202e}";

/// What people get to see.
fn is_harmless(shown: &str) {
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
}

#[test]
fn bypass_37_a_containers_name_is_escaped_for_people_and_intact_for_programs() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    let red = Container::new(&lab, NAME, "fge0")?;
    let source = format!("container:{NAME}");
    guard.await_edge("fge0")?;
    guard.await_identity(&source, "edge fge0")?;
    red.client().count(3).run()?.all_connected(3)?;
    guard.expect_attempts(&source, "direct", 3)?;
    guard.ok(&["block", &source, "--reason", NAME])?;
    red.client().run()?.all_refused(1)?;
    for command in [
        &["sources"][..],
        &["verdicts"],
        &["show", &source],
        &["events"],
        &["status"],
    ] {
        let shown = guard.ok(command)?;
        is_harmless(&shown);
        let named = shown.contains(r"\u{1b}[31mr'") || command == ["status"];
        assert!(named, "{command:?}: {shown}");
    }
    is_harmless(&guard.log()?);
    // And after it went through the database.
    guard.kill()?;
    guard.restart()?;
    assert_eq!(stored(&lab)?, vec![(source.clone(), NAME.to_owned()); 2]);
    let verdicts = guard.verdicts()?;
    let of_red = verdicts.iter().find(|verdict| verdict.source == source);
    let of_red = of_red.with_context(|| format!("{verdicts:?}"))?;
    assert_eq!(of_red.reason.as_deref(), Some(NAME));
    guard.ok(&["unblock", &source])?;
    red.client().run()?.all_connected(1)
}

#[test]
fn bypass_37_an_interfaces_name_is_escaped_for_people_and_intact_for_programs() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let vm = Container::unmanaged(&lab, "fge\u{1b}[31m'\";--")?;
    guard.await_edge(vm.interface())?;
    vm.hidden_client().count(3).run()?.all_connected(3)?;
    let source = format!("iface:{}", vm.interface());
    guard.expect_attempts(&source, "direct", 3)?;
    for command in [&["sources"][..], &["show", &source], &["status"]] {
        is_harmless(&guard.ok(command)?);
    }
    guard.ok(&["block", &source, "--reason", NAME])?;
    vm.client().run()?.all_refused(1)?;
    assert_eq!(stored(&lab)?, vec![(source, NAME.to_owned()); 2]);
    is_harmless(&guard.log()?);
    Ok(())
}

/// A user, as a name service might have it: what a line of `passwd` can hold.
const USER: &str = "\u{1b}[31mr'\";--ed/../../etc\u{202e}";

#[test]
fn bypass_37_a_users_name_is_escaped_for_people_and_intact_for_programs() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::stopped(&lab, &Config::observe(&lab))?;
    let user = User::unnamed(37)?;
    let passwd = lab.dir().join("passwd");
    let (known, line) = (
        fs::read_to_string("/etc/passwd")?,
        format!("{USER}:x:{}:{}::/:/bin/sh\n", user.uid, user.gid),
    );
    fs::write(&passwd, known + &line)?;
    let mut command = lab.place("daemon")?.private_mounts().command("sh")?;
    command
        .args([
            "-c",
            "mount --bind \"$1\" /etc/passwd && exec \"$2\" --config \"$3\" run",
            "sh",
        ])
        .arg(passwd)
        .arg(program()?)
        .arg(guard.config());
    let mut daemon = Job::start(&mut command)?;
    daemon.ready("the daemon to answer", SOON, || guard.status())?;
    let source = format!("user:{USER}");
    lab.client(user)?.count(3).run()?.all_connected(3)?;
    guard.expect_attempts(&source, "direct", 3)?;
    guard.ok(&["block", &source, "--reason", NAME])?;
    lab.client(user)?.run()?.all_refused(1)?;
    for command in [
        &["sources"][..],
        &["verdicts"],
        &["show", &source],
        &["events"],
        &["status"],
    ] {
        let shown = guard.ok(command)?;
        is_harmless(&shown);
        let named = shown.contains(r"\u{1b}[31mr'") || command == ["status"];
        assert!(named, "{command:?}: {shown}");
    }
    is_harmless(&daemon.stderr()?);
    assert_eq!(stored(&lab)?, vec![(source, NAME.to_owned()); 2]);
    Ok(())
}

/// Sources and reasons of all verdicts on record, out of the database itself.
fn stored(lab: &Lab) -> Result<Vec<(String, String)>> {
    let database = Connection::open(lab.dir().join("state.db"))?;
    let mut query = database.prepare("SELECT source, body FROM verdict ORDER BY record")?;
    let rows = query.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    rows.map(|row| {
        let (source, body) = row?;
        let body: Value = serde_json::from_str(&body)?;
        assert_eq!(body["source"].as_str(), Some(source.as_str()));
        let reason = body["reason"].as_str().context("a reason")?;
        Ok((source, reason.to_owned()))
    })
    .collect()
}

#[test]
fn bypass_37_a_programs_name_is_escaped_for_people_and_intact_for_programs() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let program = lab.dir().join("\u{1b}[2Jclean");
    // By a process of its own, as `client::publish` does and says why.
    let mut copy = Command::new("cp");
    copy.arg(lab.client_program()).arg(&program);
    run(&mut copy, SOON)?.expect_code(0)?;
    let client = lab.client(User::named(WWW.0)?)?.program(&program);
    let pid = client.run()?.pid;
    let event = until("the client's event", SOON, || {
        let events = guard.events()?;
        let found = events.iter().find(|event| event.pid() == Some(pid));
        found.cloned().with_context(|| format!("{events:?}"))
    })?;
    assert_eq!(event.process.unwrap().comm, "\u{1b}[2Jclean");
    for command in [&["events"][..], &["show", WWW.1]] {
        let shown = guard.ok(command)?;
        is_harmless(&shown);
        assert!(shown.contains(r"\u{1b}[2Jclean"), "{shown}");
    }
    Ok(())
}
