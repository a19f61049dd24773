//! A daemon whose disk takes no more, fails, or returns something else than was written.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use flowguard_tests::{
    config::Config,
    failing_disk::FailingDisk,
    guard::Guard,
    lab::Lab,
    users::User,
    wait::{SOON, until},
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rusqlite::Connection;

use crate::{GAMES, WWW};

/// Checks whether `status` warns that nothing can be put on record.
fn warned(guard: &Guard<'_>, told: bool) -> Result<()> {
    let warnings = guard.status()?.warnings;
    let found = warnings
        .iter()
        .any(|text| text.contains("cannot be written"));
    ensure!(found == told, "{warnings:?}");
    Ok(())
}

/// A disk of its own, gone when it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn new(path: PathBuf, size: &str) -> Result<Self> {
        fs::create_dir(&path)?;
        let options = format!("size={size}");
        mount(
            Some("tmpfs"),
            &path,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(&*options),
        )?;
        Ok(Self(path))
    }

    fn resize(&self, size: &str) -> Result<()> {
        let options = format!("size={size}");
        let none = None::<&str>;
        Ok(mount(
            none,
            &self.0,
            none,
            MsFlags::MS_REMOUNT,
            Some(&*options),
        )?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the daemon may have it open still.
        umount2(&self.0, MntFlags::MNT_DETACH).ok();
    }
}

#[test]
fn on_a_full_disk_verdicts_hold_and_once_there_is_room_they_are_on_record() -> Result<()> {
    let lab = Lab::new()?;
    let disk = Disk::new(lab.dir().join("disk"), "256k")?;
    let mut guard = Guard::stopped(&lab, &Config::observe(&lab))?;
    let config = Config::observe(&lab).to_string();
    guard.configure(&config.replacen("state.db", "disk/state.db", 1))?;
    guard.restart()?;
    let long = "x".repeat(900);
    until("the disk to be full", SOON, || {
        guard.ok(&["block", WWW.1, "--reason", &long])?;
        warned(&guard, true)
    })?;
    guard.ok(&["block", GAMES.1, "--reason", "on a full disk"])?;
    lab.client(User::named(GAMES.0)?)?.run()?.all_refused(1)?;
    disk.resize("16m")?;
    guard.ok(&["block", WWW.1, "--reason", "with room"])?;
    until("the warning to go", SOON, || warned(&guard, false))?;
    guard.kill()?;
    guard.restart()?;
    let shown = guard.show(WWW.1)?;
    assert_eq!(shown.verdicts[0].reason.as_deref(), Some("with room"));
    Ok(())
}

#[test]
fn on_a_disk_that_fails_verdicts_hold_and_once_it_works_again_they_are_on_record() -> Result<()> {
    let lab = Lab::new()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    for call in ["pwrite64", "fsync"] {
        let reason = format!("before {call} failed");
        guard.ok(&["block", WWW.1, "--reason", &reason])?;
        let disk = FailingDisk::under(&guard, &lab, call)?;
        guard.ok(&["block", GAMES.1, "--reason", "on a failing disk"])?;
        until("a warning", SOON, || warned(&guard, true))?;
        lab.client(User::named(GAMES.0)?)?.run()?.all_refused(1)?;
        disk.mend()?;
        guard.ok(&["unblock", GAMES.1])?;
        until("the warning to go", SOON, || warned(&guard, false))?;
        guard.kill()?;
        guard.restart()?;
        let shown = guard.show(WWW.1)?;
        assert_eq!(shown.verdicts[0].reason.as_deref(), Some(&*reason));
        guard.ok(&["unblock", WWW.1])?;
    }
    Ok(())
}

/// Breaks the first page of a table.
fn break_table(state: &Path, table: &str) -> Result<()> {
    let database = Connection::open(state)?;
    let page: u32 = database.query_row(
        "SELECT rootpage FROM sqlite_schema WHERE name = ?1",
        [table],
        |row| row.get(0),
    )?;
    drop(database);
    let file = fs::OpenOptions::new().write(true).open(state)?;
    Ok(file.write_all_at(&[0xff; 4_096], u64::from(page - 1) * 4_096)?)
}

#[test]
fn explanations_and_orders_that_can_be_read_of_a_damaged_database_are_carried_over() -> Result<()> {
    let lab = Lab::new()?;
    let mut guard = Guard::start(&lab, &Config::observe(&lab))?;
    let state = lab.dir().join("state.db");
    guard.ok(&["block", WWW.1, "--reason", "ticket 4711"])?;
    guard.ok(&["block", GAMES.1])?;
    guard.ok(&["unblock", GAMES.1])?;
    let explained = |guard: &Guard<'_>| -> Result<()> {
        let shown = guard.show(WWW.1)?;
        assert_eq!(shown.verdicts[0].reason.as_deref(), Some("ticket 4711"));
        let orders = guard.audit()?;
        let blocks = orders.iter().filter(|order| order.what == "block");
        assert_eq!(blocks.count(), 2, "{orders:?}");
        Ok(())
    };
    // Of the first, the daemon notices at once, of the second only while it runs.
    for (number, table) in [(1, "aside"), (2, "minute")] {
        guard.terminate()?;
        break_table(&state, table)?;
        guard.restart()?;
        until("a warning", SOON, || {
            let warnings = guard.status()?.warnings;
            let file = format!("state.db.damaged-{number}");
            let told = |text: &String| text.contains(&file) && text.contains("were carried over");
            ensure!(warnings.iter().any(told), "{warnings:?}");
            Ok(())
        })?;
        explained(&guard)?;
        guard.kill()?;
        guard.restart()?;
        explained(&guard)?;
    }
    Ok(())
}
