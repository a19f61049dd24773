use std::{collections::BTreeSet, net::IpAddr};

use super::{
    super::{Heard, Opened, Retention, Said, history::write_minute, testing},
    tests::{leaves, overwrite, salvage},
    *,
};
use crate::model::ClassName;

const HOUR: i64 = 3_600;
/// The hours that were added up when the file broke, and the minutes of the next.
const HOURS: i64 = 5;
const MINUTES: i64 = 30;

fn retention() -> Retention {
    let days = Duration::from_hours(24 * 365);
    Retention {
        minutes: days,
        hours: days,
        records: days,
        max_bytes: 1 << 30,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Writes minutes in which many sources did something and heard a no.
fn write(store: &mut Store, minutes: std::ops::Range<i64>) {
    let names: Vec<_> = (0..40).map(|number| format!("user:{number}")).collect();
    let sources: Vec<_> = names.iter().map(|name| name.as_str()).zip(1..).collect();
    let written = store.attempt(|db| {
        let change = db.transaction()?;
        for number in minutes.clone() {
            let heard = (0..3).map(|reply| Heard {
                source: names[(number % 40) as usize].clone(),
                class: ClassName::Direct,
                said: Said {
                    server: [192, 0, 2, reply].into(),
                    text: format!("550 {}", number % 5),
                    sent_from: (reply > 0).then(|| IpAddr::from([198, 51, 100, reply]).into()),
                },
                count: 2,
            });
            let minute = super::super::Minute {
                heard: heard.collect(),
                ..testing::minute(number * 60, &sources)
            };
            write_minute(&change, &minute)?;
        }
        Ok(change.commit()?)
    });
    written.unwrap();
}

fn full() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (mut store, _) = Store::open(&path).unwrap();
    write(&mut store, 0..HOURS * 60 + MINUTES);
    let now = at(HOURS * HOUR + MINUTES * 60);
    store.tidy(now, None, &retention()).unwrap();
    (folder, path)
}

type Row = (String, i64, String, i64, String);

/// All rows of history by their names.
fn rows(path: &Path) -> BTreeSet<Row> {
    let db = Connection::open(path).unwrap();
    let mut query = db
        .prepare(
            "SELECT 'minute', at, name, attempts, '' FROM minute JOIN source ON id = source
             UNION ALL SELECT 'hour', at, name, attempts, '' FROM hour JOIN source ON id = source
             UNION ALL SELECT 'reply', at, name, count, text.text || reply.server FROM reply
                JOIN source ON source.id = reply.source JOIN text ON text.id = reply.text",
        )
        .unwrap();
    let rows = query.query_map([], |row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
        ))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn what_sources_did_is_carried_over_but_for_the_pages_that_are_broken() {
    let (_folder, path) = full();
    let before = rows(&path);
    let broken = ["minute", "hour", "reply"].map(|table| {
        let (page, rows) = leaves(&path, table)[1];
        overwrite(&path, page, &[0xff; 4_096]);
        (table, rows as usize)
    });
    let (store, file) = salvage(&path);
    drop(store);
    let after = rows(&path);
    assert!(after.is_subset(&before));
    for (table, broken) in broken {
        let count = |rows: &BTreeSet<Row>| rows.iter().filter(|row| row.0 == table).count();
        let lost = count(&before) - count(&after);
        // The row behind the leaf; a source hears three replies in a minute, found together.
        let most = broken + if table == "reply" { 3 } else { 1 };
        assert!(
            (broken..=most).contains(&lost),
            "{table}: {lost} of {broken}"
        );
    }
    let told = format!("{} rows of history (nobody knows", after.len());
    assert!(file.told().contains(&told), "{}", file.told());
}

#[test]
fn rows_of_a_source_whose_name_is_damaged_are_lost_and_counted() {
    let (_folder, path) = full();
    let db = Connection::open(&path).unwrap();
    let change = "UPDATE source SET name = 'user:eve' WHERE name = 'user:7'";
    assert_eq!(db.execute(change, []).unwrap(), 1);
    drop(db);
    let before = rows(&path);
    let of_eve = |row: &&Row| row.2 == "user:eve";
    let lost = before.iter().filter(of_eve).count();
    let (page, _) = leaves(&path, "audit_at")[0];
    overwrite(&path, page, &[0xff; 4_096]);
    let (store, file) = salvage(&path);
    drop(store);
    let after = rows(&path);
    assert_eq!(
        after,
        before.iter().filter(|row| !of_eve(row)).cloned().collect()
    );
    let told = format!("{} rows of history ({lost} lost)", after.len());
    assert!(file.told().contains(&told), "{}", file.told());
}

#[test]
fn the_hour_in_which_it_broke_has_all_of_its_minutes() {
    let (_folder, path) = full();
    let (page, _) = leaves(&path, "audit_at")[0];
    overwrite(&path, page, &[0xff; 4_096]);
    let (mut store, _) = Store::open(&path).unwrap();
    store.verify().unwrap();
    // The rest of the hour is written to the new file, with other numbers for the sources, and added
    // up there before the old minutes come.
    let newcomer = testing::minute((HOURS * 60 + MINUTES) * 60, &[("user:new", 1)]);
    store.attempt(|db| write_minute(db, &newcomer)).unwrap();
    write(&mut store, HOURS * 60 + MINUTES..HOURS * 60 + 60);
    let now = at((HOURS + 1) * HOUR);
    store.tidy(now, None, &retention()).unwrap();
    let mut file = Salvage::of(store.aside[0].clone());
    while file.step(&mut store, true, Some(now)).unwrap() {}
    drop((file, store));
    let rows = rows(&path);
    for (name, attempts) in [("user:new", 1), ("user:0", 60), ("user:39", 60 * 40)] {
        let hour = (
            "hour".to_owned(),
            HOURS * HOUR,
            name.to_owned(),
            attempts,
            String::new(),
        );
        assert!(rows.contains(&hour), "{hour:?}");
    }
    let hours = rows.iter().filter(|row| row.0 == "hour").count() as i64;
    assert_eq!(hours, (HOURS + 1) * 40 + 1);
}

#[test]
fn replies_of_a_damaged_database_that_knew_no_addresses_are_carried_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    testing::without_addresses(&path, 1..2_000);
    let before = rows(&path);
    let (page, broken) = leaves(&path, "reply")[1];
    overwrite(&path, page, &[0xff; 4_096]);
    // Bringing it up to date is what meets the damage.
    let (mut store, opened) = Store::open(&path).unwrap();
    assert!(matches!(opened, Opened::Afresh(_)));
    let mut file = Salvage::of(store.aside[0].clone());
    while file.step(&mut store, true, None).unwrap() {}
    drop((file, store));
    let after = rows(&path);
    assert!(after.is_subset(&before));
    let lost = before.len() - after.len();
    assert!((broken..=broken + 1).contains(&(lost as u64)), "{lost}");
}
