//! A database of which everything is known.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use flowguard::{
    control::api::{ActionName, AuditEntry, VerdictRecord},
    model::{ClassName, Mode, Totals},
    store::{Activity, Health, Keeper, Minute, Reader, Retention, Store, StoreError},
};
use jiff::Timestamp;
use tempfile::TempDir;

/// Records, orders and minutes there are at first.
const RECORDS: u64 = 120;
const MINUTES: i64 = 150;
/// Sources that do something in each minute.
const SOURCES: u64 = 20;
/// When the history begins; the beginning of an hour.
const BEGIN: i64 = 1_699_999_200;

pub(crate) fn record(number: u64) -> VerdictRecord {
    VerdictRecord {
        record: number,
        source: format!("user:u{}", number % 7),
        class: ClassName::Direct,
        action: ActionName::Block,
        rule: Some(format!("rule-{number}")),
        by: "policy".to_owned(),
        reason: Some("x".repeat(usize::try_from(number % 50).unwrap() * 20)),
        mode: Mode::Enforce,
        since: Timestamp::from_second(BEGIN + i64::try_from(number).unwrap()).unwrap(),
        ..blank()
    }
}

/// What has no meaning here, and need not be told again whenever records get more fields.
fn blank() -> VerdictRecord {
    serde_json::from_value(serde_json::json!({
        "record": 0, "source": "", "class": "direct", "action": "block", "rule": null,
        "by": "", "reason": null, "mode": "observe", "since": "1970-01-01T00:00:00Z",
        "until": null, "ended": null, "observations": [], "events": [],
    }))
    .unwrap()
}

pub(crate) fn order(number: u64) -> AuditEntry {
    AuditEntry {
        entry: 0,
        at: Timestamp::from_second(BEGIN).unwrap(),
        by: "uid:0".to_owned(),
        what: "block".to_owned(),
        source: Some(format!("user:{number}")),
        detail: None,
        reason: Some(format!("order {number}")),
        error: None,
    }
}

/// Attempts of a source in a minute, so that each can be told from what it should be.
fn attempts(minute: i64, source: u64) -> u64 {
    (minute.unsigned_abs() * 31 + source * 7) % 1_000 + 1
}

pub(crate) fn minute(number: i64) -> Minute {
    let activity = (0..SOURCES).map(|source| Activity {
        source: format!("user:s{source}"),
        package: None,
        class: ClassName::Direct,
        totals: Totals {
            attempts: attempts(number, source),
            ..Totals::default()
        },
        knows_plain: true,
    });
    Minute {
        at: BEGIN + number * 60,
        activity: activity.collect(),
        heard: Vec::new(),
    }
}

pub(crate) fn retention() -> Retention {
    let days = |days: u64| Duration::from_hours(24 * days);
    Retention {
        minutes: Duration::from_hours(1),
        hours: days(90),
        records: days(365),
        max_bytes: 1 << 30,
    }
}

pub(crate) fn time_of(minute: i64) -> Timestamp {
    Timestamp::from_second(BEGIN + minute * 60).unwrap()
}

/// A folder with a database and its log, as a process leaves them that was killed.
pub(crate) fn killed() -> TempDir {
    let made = tempfile::tempdir().unwrap();
    let path = made.path().join("state.db");
    let write = |records: std::ops::RangeInclusive<u64>, minutes: std::ops::Range<i64>| {
        let mut keeper =
            Keeper::start(Store::open(&path).unwrap().0, *records.start(), false).unwrap();
        for number in records {
            keeper.add(&mut record(number));
            keeper.note_order(order(number));
        }
        for number in minutes {
            keeper.note_minute(Some(minute(number)), time_of(number), retention());
        }
        settle(&keeper);
        keeper
    };
    // Most of it in the file, since it was closed, and the rest in the log.
    drop(write(1..=RECORDS - 20, 0..MINUTES - 20));
    let _keeper = write(RECORDS - 19..=RECORDS, MINUTES - 20..MINUTES);
    let copied = tempfile::tempdir().unwrap();
    copy(made.path(), copied.path());
    copied
}

/// Copies all that belongs to a database.
pub(crate) fn copy(from: &Path, to: &Path) {
    for name in ["state.db", "state.db-wal"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// The limit on the length of files is the whole process's: the test that sets it runs alone.
static DISK: RwLock<()> = RwLock::new(());

/// As long as this is held, files can be of any length.
pub(crate) fn undisturbed() -> RwLockReadGuard<'static, ()> {
    DISK.read().unwrap_or_else(PoisonError::into_inner)
}

/// As long as this is held, no other test uses the disk.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    DISK.write().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until all is written that was handed over.
pub(crate) fn settle(keeper: &Keeper) {
    keeper.ask(|_| ()).blocking_recv().unwrap();
}

/// Waits until all is carried over that can be read of a file that was set aside.
pub(crate) fn await_salvage(keeper: &Keeper) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_over = || {
        let mishap = keeper.health().mishap;
        mishap.is_none_or(|told| !told.contains("is being carried over"))
    };
    while !is_over() {
        assert!(Instant::now() < deadline, "{:?}", keeper.health());
        settle(keeper);
    }
}

/// What was found of what had been written.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) records: usize,
    pub(crate) orders: usize,
    pub(crate) moments: usize,
}

impl Found {
    pub(crate) const ALL: (usize, usize, usize) = (RECORDS as usize, RECORDS as usize, 30 + 2);

    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        (self.records, self.orders, self.moments)
    }
}

/// Reads all there is, and checks that it is what was written.
pub(crate) fn check(path: &Path, keeper: &Keeper) -> Found {
    let mut found = Found::default();
    for number in 1..=RECORDS {
        let read = keeper.ask(move |store| store.get(number));
        match read.blocking_recv().unwrap() {
            Ok(Some(read)) => {
                // Of one that was carried over, nobody knows how it ended.
                let ended = read.ended.as_ref().map(|end| &*end.by);
                assert!(matches!(ended, None | Some("damage")), "{read:?}");
                let read = VerdictRecord {
                    ended: None,
                    ..read
                };
                assert_eq!(read, record(number));
                found.records += 1;
            }
            Ok(None) | Err(StoreError::Row { .. } | StoreError::Database(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let orders = keeper
        .ask(|store| store.orders(1_000))
        .blocking_recv()
        .unwrap();
    for read in orders.unwrap_or_default() {
        let number = read
            .source
            .as_deref()
            .and_then(|source| source.strip_prefix("user:"));
        let number = number.unwrap().parse().unwrap();
        assert_eq!(AuditEntry { entry: 0, ..read }, order(number));
        found.orders += 1;
    }
    found.moments = check_history(path);
    found
}

/// How many minutes and hours there are; all of them what was written, or left out.
fn check_history(path: &Path) -> usize {
    let mut moments = 0;
    let Ok(reader) = Reader::open(path) else {
        return 0;
    };
    let mut expected = BTreeMap::new();
    let done = reader.spans(0, |span| -> Result<(), StoreError> {
        moments += 1;
        let first = (span.at - BEGIN) / 60;
        expected.clear();
        for minute in first..(first + span.seconds / 60).min(MINUTES) {
            for source in 0..SOURCES {
                *expected.entry(format!("user:s{source}")).or_insert(0) += attempts(minute, source);
            }
        }
        for activity in span.activity {
            let expected = expected.get(&activity.source).copied();
            let attempts = activity.totals.attempts;
            if span.seconds == 60 || span.damaged == 0 {
                // An hour that was added up before the fault is the sum of all its minutes; one
                // added up later may lack those that were lost.
                assert!(
                    Some(attempts) == expected || span.seconds > 60 && Some(attempts) < expected,
                    "{activity:?}"
                );
            }
        }
        Ok(())
    });
    // What cannot be read is said.
    if let Err(error) = done {
        assert!(matches!(error, StoreError::Database(_)), "{error}");
    }
    moments
}

/// Writes a little of everything; the last record.
fn write_a_little(keeper: &mut Keeper) -> VerdictRecord {
    let mut last = record(0);
    for _ in 0..20 {
        last = record(0);
        keeper.add(&mut last);
        keeper.note_order(order(1_000));
    }
    keeper.note_minute(Some(minute(MINUTES)), time_of(MINUTES + 1), retention());
    settle(keeper);
    last
}

/// What is written now is there, for this process and for the next. Damage that shows only now takes
/// what was written before it aside.
pub(crate) fn write_and_read_again(path: &Path, mut keeper: Keeper) {
    let mut last;
    write_a_little(&mut keeper);
    let mut mishap = keeper.health().mishap;
    loop {
        last = write_a_little(&mut keeper);
        let now = keeper.health().mishap;
        if now == mishap {
            break;
        }
        mishap = now;
    }
    let number = last.record;
    let read = keeper
        .ask(move |store| store.get(number))
        .blocking_recv()
        .unwrap();
    assert_eq!(read.unwrap().as_ref(), Some(&last), "{:?}", keeper.health());
    let Health { failure, .. } = keeper.health();
    assert_eq!(failure, None);
    drop(keeper);
    let (mut store, _) = Store::open(path).unwrap();
    assert_eq!(store.get(number).unwrap(), Some(last));
    let reader = Reader::open(path).unwrap();
    let mut seen = None;
    let done = reader.spans(minute(MINUTES).at, |span| -> Result<(), StoreError> {
        seen = Some(span.activity);
        Ok(())
    });
    done.unwrap();
    let written = minute(MINUTES).activity;
    let seen = seen.unwrap();
    assert_eq!(seen.len(), written.len());
    for (seen, written) in seen.iter().zip(&written) {
        // As often as it was written since the last damage.
        assert_eq!(seen.totals.attempts % written.totals.attempts, 0);
        assert!(seen.totals.attempts > 0 && seen.source == written.source);
    }
}

/// Opens as the daemon does. Records get numbers that no lost one had.
pub(crate) fn open(path: &Path) -> (Keeper, Option<PathBuf>) {
    let (store, opened) = Store::open(path).unwrap();
    let aside = match opened {
        flowguard::store::Opened::Normally => None,
        flowguard::store::Opened::Afresh(aside) => Some(aside),
    };
    (Keeper::start(store, 1_000_000, false).unwrap(), aside)
}

#[expect(
    clippy::print_stdout,
    reason = "the test runner shows it when the test fails"
)]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
