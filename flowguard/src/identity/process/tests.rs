use std::{
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
};

use nix::time::{ClockId, clock_gettime};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// One that says that it runs, and then waits.
fn shell(command: &mut Command) -> Running {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut said = [0];
    running
        .0
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut said)
        .unwrap();
    running
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap();
    u64::try_from(now.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap()
}

#[test]
fn a_process_is_told_from_all_sides() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().canonicalize().unwrap();
    let script = folder.join("b\u{1b}ot.sh");
    std::fs::write(&script, "echo; read wait").unwrap();
    let running = shell(
        Command::new("/bin/sh")
            .arg("-e")
            .arg(&script)
            .arg("a b")
            .current_dir(&folder),
    );
    let mut observer = Observer::default();
    let details = observer.look_at(running.0.id(), now_ns()).unwrap();
    let shown = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let program = std::fs::canonicalize("/bin/sh").unwrap();
    assert_eq!(details.program, Some(shown(&program)));
    let line = format!("/bin/sh -e {} a b", script.display());
    assert_eq!(details.command_line.as_deref(), Some(line.as_str()));
    assert_eq!(details.directory, Some(shown(&folder)));
    assert_eq!(details.script, Some(shown(&script)));
    let parent = details.parent.as_ref().unwrap();
    assert_eq!(parent.pid, std::process::id());
    // Known by now: the same, not an equal one.
    let again = observer.look_at(running.0.id(), now_ns()).unwrap();
    assert!(Arc::ptr_eq(&details, &again));
}

#[test]
fn who_was_started_later_did_not_do_it() {
    let running = shell(Command::new("/bin/sh").args(["-c", "echo; read wait"]));
    let mut observer = Observer::default();
    // Before anything of this boot but the kernel ran.
    assert_eq!(observer.look_at(running.0.id(), 1), None);
    let pid = running.0.id();
    drop(running);
    assert_eq!(observer.look_at(pid, now_ns()), None);
}

#[test]
fn whoever_goes_elsewhere_is_looked_at_again() {
    let mut running =
        shell(Command::new("/bin/sh").args(["-c", "echo; read wait; cd /; echo; read wait"]));
    let mut observer = Observer::default();
    let before = observer.look_at(running.0.id(), now_ns()).unwrap();
    assert_ne!(before.directory.as_deref(), Some("/"));
    let mut said = [0];
    io::Write::write_all(running.0.stdin.as_mut().unwrap(), b"\n").unwrap();
    running
        .0
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut said)
        .unwrap();
    let after = observer.look_at(running.0.id(), now_ns()).unwrap();
    assert_eq!(after.directory.as_deref(), Some("/"));
}

#[test]
fn a_long_command_line_is_cut() {
    let long = "ü".repeat(20_000);
    let mut command = Command::new("/bin/sh");
    command.arg0("sh").args(["-c", "echo; read wait", &long]);
    let running = shell(&mut command);
    let details = Observer::default()
        .look_at(running.0.id(), now_ns())
        .unwrap();
    let line = details.command_line.as_ref().unwrap();
    assert!(line.starts_with("sh -c echo; read wait ü") && line.ends_with("ü…"));
    assert!(line.len() <= MAX_TEXT);
}

#[test]
fn names_in_stat_are_not_taken_for_fields() {
    let stat = b"42 (a) S 1 2) R 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 9 9\n";
    let expected = Stat {
        parent: 7,
        started: 4711,
    };
    assert_eq!(Stat::parse(stat), Some(expected));
    for odd in [
        &b""[..],
        b"42 (a",
        b"42 (a)",
        b"42 (a) R x",
        b"42 (a) R 1 2 3",
    ] {
        assert_eq!(Stat::parse(odd), None);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        Stat::parse(&bytes);
        let words = words(&bytes);
        sentence(&words);
        script::of(&words, &bytes);
        prop_assert!(text(&bytes).len() <= MAX_TEXT);
    }
}
