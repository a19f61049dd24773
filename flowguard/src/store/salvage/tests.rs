use std::os::unix::fs::FileExt as _;

use tempfile::TempDir;

use super::{
    super::testing::{order, record},
    *,
};

const ROWS: u64 = 500;
const PAGE: u64 = 4_096;

/// A database with records and orders, closed.
fn full() -> (TempDir, PathBuf) {
    spread(1)
}

/// The same, with so much between the numbers of two records.
fn spread(apart: u64) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (mut store, _) = Store::open(&path).unwrap();
    let write = |db: &mut Connection| {
        let change = db.transaction()?;
        for number in 1..=ROWS {
            verdicts::put(&change, &record(number * apart, "user:a"))?;
            audit::note_order(&change, &order(&format!("user:{number}")))?;
        }
        Ok(change.commit()?)
    };
    store.attempt(write).unwrap();
    drop(store);
    (folder, path)
}

/// Leaves of a table's tree in the order of the table: their pages, and how many rows each has.
pub(super) fn leaves(path: &Path, table: &str) -> Vec<(u64, u64)> {
    let db = Connection::open(path).unwrap();
    let mut query = db
        .prepare(
            "SELECT pageno, ncell FROM dbstat WHERE name = ?1 AND pagetype = 'leaf' ORDER BY path",
        )
        .unwrap();
    let rows = query.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)));
    let leaves: rusqlite::Result<Vec<(i64, i64)>> = rows.unwrap().collect();
    let unsigned = |(page, rows): (i64, i64)| (page.unsigned_abs(), rows.unsigned_abs());
    leaves.unwrap().into_iter().map(unsigned).collect()
}

pub(super) fn overwrite(path: &Path, page: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, (page - 1) * PAGE).unwrap();
}

/// Sets the file aside and carries all over that can be read.
pub(super) fn salvage(path: &Path) -> (Store, Salvage) {
    let (mut store, _) = Store::open(path).unwrap();
    store.verify().unwrap();
    let aside = store.aside.first().expect("it was set aside").clone();
    let mut file = Salvage::of(aside);
    while file.step(&mut store, true, None).unwrap() {}
    (store, file)
}

fn numbers(store: &mut Store) -> Vec<u64> {
    let records = store.made_since(Timestamp::UNIX_EPOCH).unwrap();
    records.iter().map(|record| record.record).collect()
}

#[test]
fn a_page_that_cannot_be_read_costs_its_rows_and_no_others() {
    let (_folder, path) = full();
    let (records, orders) = (leaves(&path, "verdict"), leaves(&path, "audit"));
    // One in the middle of the one table, two of the other, one of them its last.
    let broken = [records[7], orders[5], orders[orders.len() - 1]];
    for (page, _) in broken {
        overwrite(&path, page, &[0xff; PAGE as usize]);
    }
    let (mut store, file) = salvage(&path);
    let lost = broken.map(|(_, rows)| rows);
    let before: u64 = records[..7].iter().map(|(_, rows)| rows).sum();
    let expected: Vec<u64> = (1..=before).chain(before + lost[0] + 1..=ROWS).collect();
    assert_eq!(numbers(&mut store), expected);
    let kept = store.orders(u32::MAX).unwrap();
    assert_eq!(kept.len() as u64, ROWS - lost[1] - lost[2]);
    assert!(
        kept.iter()
            .all(|order| order.source == Some(format!("user:{}", order.entry)))
    );
    let told = file.told();
    let expected = format!(
        "{} records of verdicts ({} lost), {} orders ({} lost)",
        ROWS - lost[0],
        lost[0],
        ROWS - lost[1] - lost[2],
        lost[1] + lost[2],
    );
    assert!(told.contains(&expected), "{told}");
}

#[test]
fn what_is_cut_off_is_lost_and_the_rest_is_not() {
    let (_folder, path) = full();
    let length = fs::metadata(&path).unwrap().len();
    let kept = length / PAGE / 2;
    let rows = |table: &str| -> u64 {
        let leaves = leaves(&path, table).into_iter();
        leaves
            .filter(|(page, _)| *page <= kept)
            .map(|(_, rows)| rows)
            .sum()
    };
    let (records, orders) = (rows("verdict"), rows("audit"));
    assert!(records > 0 && records < ROWS);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(kept * PAGE).unwrap();
    let (mut store, file) = salvage(&path);
    assert_eq!(numbers(&mut store).len() as u64, records, "{}", file.told());
    assert_eq!(store.orders(u32::MAX).unwrap().len() as u64, orders);
    let told = file.told();
    assert!(told.contains("nobody knows how many are lost"), "{told}");
}

#[test]
fn a_row_that_is_not_what_was_written_is_lost_and_no_other() {
    let (_folder, path) = full();
    let db = Connection::open(&path).unwrap();
    for change in [
        "UPDATE verdict SET body = replace(body, 'fanout', 'fan0ut') WHERE record IN (10, 11)",
        "UPDATE audit SET checksum = checksum + 1 WHERE entry = 500",
    ] {
        db.execute(change, []).unwrap();
    }
    drop(db);
    // That is no damage to SQLite; this is, and nothing that is read needs it.
    let (page, _) = leaves(&path, "audit_at")[0];
    overwrite(&path, page, &[0xff; PAGE as usize]);
    let (mut store, file) = salvage(&path);
    let expected: Vec<u64> = (1..=9).chain(12..=ROWS).collect();
    assert_eq!(numbers(&mut store), expected);
    let told = file.told();
    let expected = "498 records of verdicts (2 lost), 499 orders (1 lost)";
    assert!(told.contains(expected), "{told}");
}

/// The file with one page of each table broken, set aside.
fn set_aside() -> (TempDir, PathBuf, Store) {
    let (folder, path) = full();
    for table in ["verdict", "audit"] {
        overwrite(&path, leaves(&path, table)[3].0, &[0xff; PAGE as usize]);
    }
    let (mut store, _) = Store::open(&path).unwrap();
    store.verify().unwrap();
    (folder, path, store)
}

#[test]
fn what_is_newer_stays_and_numbers_are_given_once() {
    let (_folder, path, mut store) = set_aside();
    let newer = VerdictRecord {
        reason: Some("newer".to_owned()),
        ..record(5, "user:a")
    };
    store.put(&newer).unwrap();
    store.note_order(&order("user:newer")).unwrap();
    assert!(store.last_number().unwrap() > ROWS);
    drop(store);
    // That there is something to carry over is known after a restart, too.
    let (mut store, _) = Store::open(&path).unwrap();
    let mut file = Salvage::of(store.aside[0].clone());
    while file.step(&mut store, true, None).unwrap() {}
    assert_eq!(store.get(5).unwrap(), Some(newer));
    let orders = store.orders(2).unwrap();
    assert_eq!(orders[0].source.as_deref(), Some("user:newer"));
    assert_eq!(orders[1].entry, ROWS);
}

#[test]
fn verdicts_of_which_nobody_knows_how_they_ended_are_closed() {
    let (_folder, _path, mut store) = set_aside();
    let mut file = Salvage::of(store.aside[0].clone());
    while file.step(&mut store, false, None).unwrap() {}
    let ended = store.get(1).unwrap().unwrap().ended.unwrap();
    assert_eq!(ended.by, "damage");
    assert_eq!(store.open_at(Timestamp::UNIX_EPOCH).unwrap(), []);
}

#[test]
fn it_can_be_broken_off_and_the_damaged_file_stays_as_it_is() {
    let (folder, path, mut store) = set_aside();
    let aside = store.aside[0].clone();
    let before = fs::read(&aside).unwrap();
    let mut file = Salvage::of(aside.clone());
    assert!(file.step(&mut store, true, None).unwrap());
    drop((file, store));
    let (mut store, _) = Store::open(&path).unwrap();
    assert_eq!(store.aside, std::slice::from_ref(&aside));
    let mut file = Salvage::of(aside.clone());
    while file.step(&mut store, true, None).unwrap() {}
    assert!(numbers(&mut store).len() > 400);
    forget(&store.db, file.path()).unwrap();
    drop((file, store));
    assert_eq!(Store::open(&path).unwrap().0.aside, [] as [PathBuf; 0]);
    assert_eq!(fs::read(&aside).unwrap(), before);
    let names = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let left = names.filter(|name| name.to_string_lossy().ends_with("damaged-1-shm"));
    assert_eq!(left.count(), 0);
}

#[test]
fn of_a_file_that_is_no_database_nothing_is_carried_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    fs::write(&path, [7; 10_000]).unwrap();
    let (mut store, _) = Store::open(&path).unwrap();
    let mut file = Salvage::of(store.aside[0].clone());
    assert!(!file.step(&mut store, true, None).unwrap());
    let told = file.told();
    assert!(
        told.contains(" 0 records of verdicts (nobody knows"),
        "{told}"
    );
}

#[test]
fn numbers_may_be_far_apart() {
    let (_folder, path) = spread(1_000_000_007);
    let records = leaves(&path, "verdict");
    let broken = [records[4], records[9]];
    for (page, _) in broken {
        overwrite(&path, page, &[0xff; PAGE as usize]);
    }
    let (mut store, file) = salvage(&path);
    let lost: u64 = broken.iter().map(|(_, rows)| rows).sum();
    assert_eq!(
        numbers(&mut store).len() as u64,
        ROWS - lost,
        "{}",
        file.told()
    );
}

#[test]
fn what_takes_too_long_is_given_up_and_said() {
    let (_folder, _path, mut store) = set_aside();
    let mut file = Salvage::of(store.aside[0].clone());
    assert!(file.step(&mut store, true, None).unwrap());
    file.worked = WORK;
    assert!(!file.step(&mut store, true, None).unwrap());
    let told = file.told();
    assert!(
        told.contains("orders (nobody knows how many are lost)"),
        "{told}"
    );
}
