//! Disks that answer the n-th call with an I/O error, once or from then on.

use std::{
    fs,
    path::{Path, PathBuf},
};

use flowguard::store::{Keeper, StoreError};
use tempfile::TempDir;

use crate::{
    injector::Injector,
    scene::{self, Found},
};

/// Records and orders that are written, one by one, while the disk fails.
const WRITTEN: u64 = 15;

/// A database of its own for each fault.
struct Case {
    folder: TempDir,
    path: PathBuf,
    keeper: Keeper,
    /// The fault, for whoever reads of a test that failed.
    shown: String,
}

/// What became of what was written.
struct Outcome {
    /// Calls that failed.
    failed: usize,
    /// Whether the keeper said so at any time.
    told: bool,
    /// Records and orders that were written while the disk failed and can be read.
    kept: u64,
}

impl Case {
    fn new(killed: &Path, call: &str, when: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        scene::copy(killed, folder.path());
        let path = folder.path().join("state.db");
        let (keeper, aside) = scene::open(&path);
        assert_eq!(aside, None);
        Self {
            folder,
            path,
            keeper,
            shown: format!("{call} {when}"),
        }
    }

    /// Lets the calls fail while things are written, and then no more.
    fn suffer(&mut self, call: &str, when: &str) -> Outcome {
        let injector = Injector::attach(&self.keeper, self.folder.path(), call, when);
        let (mut told, mut records) = (false, Vec::new());
        for number in 0..WRITTEN {
            let mut record = scene::record(number);
            self.keeper.add(&mut record);
            scene::settle(&self.keeper);
            told |= self.keeper.health().failure.is_some();
            records.push(record);
            self.keeper.note_order(scene::order(5_000 + number));
            scene::settle(&self.keeper);
            told |= self.keeper.health().failure.is_some();
            self.keeper
                .note_minute(None, scene::time_of(150), scene::retention());
        }
        scene::settle(&self.keeper);
        told |= self.keeper.health().failure.is_some();
        let failed = injector.detach();
        let mut kept = 0;
        for record in records {
            let number = record.record;
            let read = self.keeper.ask(move |store| store.get(number));
            if let Some(read) = read.blocking_recv().unwrap().unwrap() {
                assert_eq!(read, record, "{}", self.shown);
                kept += 1;
            }
        }
        let orders = self.keeper.ask(|store| -> Result<_, StoreError> {
            let orders = store.orders(1_000)?.into_iter();
            let of_now = |source: &str| source.starts_with("user:5") && source.len() == 9;
            Ok(orders
                .filter(|order| order.source.as_deref().is_some_and(of_now))
                .count())
        });
        kept += orders.blocking_recv().unwrap().unwrap() as u64;
        Outcome { failed, told, kept }
    }
}

/// Each of the first calls, and every tenth of them and all after it.
fn moments(calls: usize) -> impl Iterator<Item = String> {
    let once = (1..=calls).map(|n| n.to_string());
    once.chain((1..=calls).step_by(10).map(|n| format!("{n}+")))
}

#[test]
fn while_it_writes_what_is_not_told_as_lost_is_there() {
    let _undisturbed = scene::undisturbed();
    let killed = scene::killed();
    for (call, calls) in [("pwrite64", 60), ("fsync", 30)] {
        for when in moments(calls) {
            let mut case = Case::new(killed.path(), call, &when);
            let Outcome { failed, told, kept } = case.suffer(call, &when);
            let health = case.keeper.health();
            let shown = format!("{}: {failed} failed, {kept} kept, {health:?}", case.shown);
            assert!(failed > 0 && told, "{shown}");
            assert_eq!(kept + health.lost, 2 * WRITTEN, "{shown}");
            assert_eq!(health.mishap, None, "{shown}: such an error is no damage");
            scene::say(&shown);
            let before = scene::check(&case.path, &case.keeper);
            assert_eq!(
                (before.records, before.moments),
                (Found::ALL.0, Found::ALL.2),
                "{shown}"
            );
            scene::write_and_read_again(&case.path, case.keeper);
        }
    }
}

#[test]
fn while_it_is_closed_nothing_is_lost() {
    let _undisturbed = scene::undisturbed();
    let killed = scene::killed();
    for (call, calls) in [("pwrite64", 15), ("fsync", 2)] {
        for when in moments(calls) {
            let case = Case::new(killed.path(), call, &when);
            scene::settle(&case.keeper);
            let injector = Injector::attach(&case.keeper, case.folder.path(), call, &when);
            drop(case.keeper);
            let failed = injector.detach();
            let (keeper, aside) = scene::open(&case.path);
            let found = scene::check(&case.path, &keeper);
            let shown = format!("{}: {failed} failed, {found:?}", case.shown);
            assert!(failed > 0 && aside.is_none(), "{shown}");
            assert_eq!(found.counts(), Found::ALL, "{shown}");
            scene::say(&shown);
            scene::write_and_read_again(&case.path, keeper);
        }
    }
}

#[test]
fn while_a_new_one_is_begun_what_is_not_told_as_lost_is_there() {
    let _undisturbed = scene::undisturbed();
    let killed = scene::killed();
    for (call, calls) in [("pwrite64", 40), ("fsync", 20), ("ftruncate", 1)] {
        for when in moments(calls) {
            let mut case = Case::new(killed.path(), call, &when);
            for name in ["state.db", "state.db-wal", "state.db-shm"] {
                fs::remove_file(case.folder.path().join(name)).ok();
            }
            let Outcome { failed, told, kept } = case.suffer(call, &when);
            let health = case.keeper.health();
            let shown = format!("{}: {failed} failed, {kept} kept, {health:?}", case.shown);
            assert!(failed > 0 && told == (health.lost > 0), "{shown}");
            assert_eq!(kept + health.lost, 2 * WRITTEN, "{shown}");
            let mishap = health.mishap.as_deref().unwrap_or_default();
            assert!(mishap.contains("removed or replaced"), "{shown}");
            scene::say(&shown);
            scene::write_and_read_again(&case.path, case.keeper);
        }
    }
}
