//! The demo, as somebody runs it who has just cloned the repository.

use std::{os::unix::process::CommandExt as _, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    process::Job,
    sweep,
    wait::{SOON, until},
};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

/// More than the demo takes before it gives up by itself.
const TOO_LONG: Duration = Duration::from_secs(45);

/// The demo in a process group of its own, as a shell starts it.
fn start() -> Result<Job> {
    Job::start(Command::new(env!("CARGO_BIN_EXE_fg-demo")).process_group(0))
}

fn leaves_nothing(pid: u32) -> Result<()> {
    let left = sweep::left_by(pid)?;
    ensure!(left.is_empty(), "the demo left {left:?}");
    Ok(())
}

/// All numbers in a text.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[test]
fn the_demo_stops_the_hacked_site_and_nobody_else() -> Result<()> {
    let demo = start()?;
    let pid = demo.pid();
    let done = demo.finish(TOO_LONG)?.expect_code(0)?;
    leaves_nothing(pid)?;
    for line in [
        "hacked-site is stopped by rule direct-fanout",
        "VERDICT IN FORCE: block direct",
        "wp-cache.php",
    ] {
        assert!(done.stdout.contains(line), "no `{line}`: {done}");
    }
    assert!(
        !done.stdout.contains('\u{1b}'),
        "this is no terminal: {done}"
    );

    let summary = done.stdout.find("Of the ").context("no summary")?;
    let [
        tried,
        through,
        refused,
        form,
        newsletter,
        of_others,
        accepted,
        counted,
        denied,
    ] = numbers(&done.stdout[summary..])[..]
    else {
        panic!("other numbers than expected: {done}");
    };
    assert_eq!((tried, form, newsletter), (200, 12, 900), "{done}");
    // The rule waits for 30, and rules are weighed once a second.
    assert!(through >= 30 && refused > 0, "{done}");
    assert_eq!(through + refused, tried, "{done}");
    assert_eq!((of_others, denied), (0, refused), "{done}");
    assert_eq!(accepted, through + form + newsletter, "{done}");
    assert_eq!(counted, tried + form + newsletter, "{done}");

    // The last table, drawn when everything was counted.
    let last = |source: &str| {
        let mut rows = done.stdout.lines().filter(|line| line.starts_with(source));
        let row = rows.rfind(|line| line.split_whitespace().count() == 5)?;
        Some(numbers(row))
    };
    let form = last("container:contact-form").context("no row")?;
    assert_eq!((form[0], form[2]), (12, 0), "{done}");
    let newsletter = last("container:newsletter").context("no row")?;
    assert_eq!((newsletter[0], newsletter[2]), (900, 0), "{done}");
    let hacked = last("container:hacked-site").context("no row")?;
    assert_eq!((hacked[0], hacked[2]), (200, denied), "{done}");
    Ok(())
}

/// Ends the demo when its second tenant is at work, and checks that it ends with this code.
fn interrupted(end: impl FnOnce(Pid) -> nix::Result<()>, code: i32) -> Result<()> {
    let demo = start()?;
    let pid = demo.pid();
    until("the second tenant to be at work", SOON, || {
        let shown = demo.stdout()?;
        ensure!(shown.contains("newsletter starts"), "{shown}");
        Ok(())
    })?;
    ensure!(!sweep::left_by(pid)?.is_empty(), "nothing to leave behind");
    end(Pid::from_raw(pid.cast_signed()))?;
    let ended = demo.finish(SOON)?.expect_code(code)?;
    leaves_nothing(pid)?;
    assert!(ended.stderr.contains("has been removed"), "{ended}");
    assert!(!ended.stdout.contains("Of the "), "it went on: {ended}");
    Ok(())
}

#[test]
fn ctrl_c_in_the_middle_of_the_demo_leaves_nothing_behind() -> Result<()> {
    // As a terminal does: to the daemon, the tenants and whatever else runs, too.
    interrupted(|demo| killpg(demo, Signal::SIGINT), 130)
}

#[test]
fn a_terminated_demo_leaves_nothing_behind() -> Result<()> {
    interrupted(|demo| kill(demo, Signal::SIGTERM), 143)
}
