//! The process behind a connection is recorded while it lives.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    config::Config,
    guard::Guard,
    lab::Lab,
    process::Job,
    report::Event,
    users::User,
    wait::{SOON, until},
};

use crate::WWW;

/// Connects, says so, and lives on.
const SCRIPT: &str = "use IO::Socket::INET; $| = 1; \
    $s = IO::Socket::INET->new(PeerAddr => '198.18.0.1:25') or die; print 'done'; sleep;";

/// Starts a script of a user, in its own folder, by a shell.
fn bot(lab: &Lab, script: &Path) -> Result<Job> {
    let mut command = lab
        .place("users")?
        .user(User::named(WWW.0)?)
        .command("/bin/sh")?;
    command.current_dir(script.parent().context("a folder")?);
    command
        .args(["-c", "/usr/bin/perl -w \"$0\" --now; :"])
        .arg(script);
    Job::start(&mut command)
}

fn event_of(guard: &Guard<'_>, pid: impl Fn(u32) -> bool) -> Result<Event> {
    until("the script's event", SOON, || {
        let events = guard.events()?;
        let found = events.iter().find(|event| event.pid().is_some_and(&pid));
        found.cloned().with_context(|| format!("{events:?}"))
    })
}

#[test]
fn a_script_is_found_with_its_folder_and_who_started_it() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let folder = lab.dir().join("www\u{1b}[2J/wp-content");
    fs::create_dir_all(&folder)?;
    let script = folder.join("bot.pl");
    fs::write(&script, SCRIPT)?;
    let shell = bot(&lab, &script)?;
    let parent = shell.pid();
    let process = event_of(&guard, |_| true)?.process.context("a process")?;
    let folder = folder.to_str().context("a plain path")?;
    assert_eq!(process.comm, "perl");
    assert_eq!(process.program.as_deref(), Some("/usr/bin/perl"));
    assert_eq!(process.directory.as_deref(), Some(folder));
    assert_eq!(process.script.as_deref(), script.to_str());
    let line = format!("/usr/bin/perl -w {} --now", script.display());
    assert_eq!(process.command_line, Some(line));
    let started_by = process.parent.context("a parent")?;
    assert_eq!(started_by.pid, parent);
    assert!(
        started_by.command_line.starts_with("/bin/sh -c"),
        "{started_by:?}"
    );
    // For people, and in the record of a verdict.
    guard.ok(&["block", WWW.1, "--reason", "spam"])?;
    for command in [&["events"][..], &["show", WWW.1]] {
        let shown = guard.ok(command)?;
        assert!(shown.contains(r"www\u{1b}[2J/wp-content/bot.pl"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
    let verdicts = guard.verdicts()?;
    let recorded = verdicts[0].events[0]
        .process
        .as_ref()
        .context("a process")?;
    assert_eq!(recorded.script.as_deref(), script.to_str());
    assert_eq!(guard.status()?.processes["seen"], 1);
    Ok(())
}

#[test]
fn a_flood_of_processes_costs_no_event() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let config = Config::observe(&lab)
        .extra("\n[kernel]\nevents_per_source = { burst = 5000, rate = 5000, per = \"1s\" }\n");
    let guard = Guard::start(&lab, &config)?;
    let client = lab.client(User::named(WWW.0)?)?.count(3000);
    client.run()?.all_connected(3000)?;
    guard.expect_attempts(WWW.1, "direct", 3000)?;
    until("all events", SOON, || {
        let status = guard.status()?;
        let looked_behind: u64 = status.processes.values().sum();
        let delivered = status.counted("events_delivered");
        ensure!(
            looked_behind == delivered && status.events_received == delivered && delivered >= 1_000,
            "{status:?}"
        );
        Ok(())
    })
}
