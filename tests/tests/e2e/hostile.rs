//! Names that tenants choose: shown harmless, kept as they are.

use std::fs;

use anyhow::{Context as _, Result};
use flowguard_tests::{
    config::Config,
    container::Container,
    guard::Guard,
    lab::Lab,
    users::User,
    wait::{SOON, until},
};

use crate::WWW;

/// Paints the terminal red, ends an SQL string, and more.
const NAME: &str = "\u{1b}[31mr'\";--ed\u{202e}";

/// What people get to see.
fn is_harmless(shown: &str) {
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
}

#[test]
fn a_containers_name_is_escaped_for_people_and_intact_for_programs() -> Result<()> {
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
    let verdicts = guard.verdicts()?;
    let of_red = verdicts.iter().find(|verdict| verdict.source == source);
    let of_red = of_red.with_context(|| format!("{verdicts:?}"))?;
    assert_eq!(of_red.reason.as_deref(), Some(NAME));
    guard.ok(&["unblock", &source])?;
    red.client().run()?.all_connected(1)
}

#[test]
fn an_interfaces_name_is_escaped_for_people_and_intact_for_programs() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let vm = Container::unmanaged(&lab, "fge\u{1b}[31m")?;
    guard.await_edge(vm.interface())?;
    vm.hidden_client().count(3).run()?.all_connected(3)?;
    let source = format!("iface:{}", vm.interface());
    guard.expect_attempts(&source, "direct", 3)?;
    for command in [&["sources"][..], &["show", &source], &["status"]] {
        is_harmless(&guard.ok(command)?);
    }
    is_harmless(&guard.log()?);
    Ok(())
}

#[test]
fn a_programs_name_is_escaped_for_people_and_intact_for_programs() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let program = lab.dir().join("\u{1b}[2Jclean");
    fs::copy(lab.client_program(), &program)?;
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
