use std::{collections::BTreeMap, process::Command};

use super::*;
use crate::identity::testing::TestCgroup;

const DEADLINE: Duration = Duration::from_secs(20);

/// Takes events in, and keeps the state a listener would have.
struct Listener {
    events: mpsc::Receiver<CgroupEvent>,
    present: BTreeMap<String, u64>,
}

impl Listener {
    async fn start(top: &TestCgroup, descend: fn(&str) -> bool) -> Self {
        let mut listener = Self::behind(top, descend);
        listener.until(|event| *event == CgroupEvent::Synced).await;
        listener
    }

    fn behind(top: &TestCgroup, descend: fn(&str) -> bool) -> Self {
        let watch = CgroupWatch::new(top.root(), top.path(), descend).unwrap();
        let (sender, events) = mpsc::channel(1);
        tokio::spawn(watch.run(sender));
        Self {
            events,
            present: BTreeMap::new(),
        }
    }

    async fn next(&mut self) -> CgroupEvent {
        let event = tokio::time::timeout(DEADLINE, self.events.recv())
            .await
            .expect("no event in time")
            .expect("the watch ended");
        match &event {
            CgroupEvent::Appeared { path, id } => {
                let before = self.present.insert(path.clone(), *id);
                assert_eq!(before, None, "{path} appeared twice");
            }
            CgroupEvent::Gone { path, id } => {
                let before = self.present.remove(path);
                assert_eq!(before, Some(*id), "{path} was not there");
            }
            CgroupEvent::Synced | CgroupEvent::Unwatched { .. } => {}
        }
        event
    }

    async fn until(&mut self, stop: impl Fn(&CgroupEvent) -> bool) -> CgroupEvent {
        loop {
            let event = self.next().await;
            if stop(&event) {
                return event;
            }
        }
    }
}

fn id(top: &TestCgroup, path: &str) -> u64 {
    cgroup_id(&directory(top.root(), path)).unwrap()
}

fn appeared(top: &TestCgroup, path: &str) -> CgroupEvent {
    CgroupEvent::Appeared {
        path: path.to_owned(),
        id: id(top, path),
    }
}

#[tokio::test]
async fn what_comes_and_goes_is_reported_with_its_id() {
    let top = TestCgroup::new();
    let old = top.create("old");
    let mut listener = Listener::behind(&top, |_| true);
    assert_eq!(listener.next().await, appeared(&top, &old));
    assert_eq!(listener.next().await, CgroupEvent::Synced);

    let new = top.create("new");
    assert_eq!(listener.next().await, appeared(&top, &new));
    let deep = top.create("new/a");
    assert_eq!(listener.next().await, appeared(&top, &deep));

    let gone = |path: &str| CgroupEvent::Gone {
        path: path.to_owned(),
        id: id(&top, path),
    };
    let expected = [gone(&deep), gone(&new), gone(&old)];
    for below in ["new/a", "new", "old"] {
        top.remove(below);
    }
    for event in expected {
        assert_eq!(listener.next().await, event);
    }
    assert!(listener.present.is_empty());
}

#[tokio::test]
async fn a_tree_made_at_once_is_seen_whole() {
    let top = TestCgroup::new();
    let mut listener = Listener::start(&top, |_| true).await;
    let deepest = top.create("a/b/c/d/e/f");
    let event = listener
        .until(|event| matches!(event, CgroupEvent::Appeared { path, .. } if *path == deepest))
        .await;
    assert_eq!(event, appeared(&top, &deepest));
    assert_eq!(listener.present.len(), 6);
}

#[tokio::test]
async fn a_cgroup_made_again_has_its_new_id() {
    let top = TestCgroup::new();
    let mut listener = Listener::start(&top, |_| true).await;
    for _ in 0..50 {
        top.create("x/y");
        top.remove("x/y");
        top.remove("x");
    }
    let last = top.create("x/y");
    let expected = appeared(&top, &last);
    listener.until(|event| *event == expected).await;
    let parent = format!("{}/x", top.path());
    assert_eq!(listener.present.get(&parent), Some(&id(&top, &parent)));
}

#[tokio::test]
async fn what_is_in_a_container_is_not_followed() {
    let top = TestCgroup::new();
    let mut listener = Listener::start(&top, |path| !path.ends_with("/container")).await;
    top.create("container/minted");
    let after = top.create("z");
    listener
        .until(|event| matches!(event, CgroupEvent::Appeared { path, .. } if *path == after))
        .await;
    let container = format!("{}/container", top.path());
    assert_eq!(
        listener.present.keys().collect::<Vec<_>>(),
        [&container, &after]
    );
}

#[tokio::test]
async fn a_full_queue_loses_nothing() {
    let top = TestCgroup::new();
    let mut listener = Listener::start(&top, |_| true).await;
    // The watching task does not run before this one awaits: more changes than a queue holds
    // (fs.inotify.max_queued_events, two changes each round).
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let rounds: usize = limit.trim().parse::<usize>().unwrap() / 2 + 1;
    for _ in 0..rounds {
        top.create("x");
        top.remove("x");
    }
    let last = top.create("last");
    listener.until(|event| *event == CgroupEvent::Synced).await;
    assert_eq!(
        listener.present,
        BTreeMap::from([(last.clone(), id(&top, &last))])
    );
}

/// The limit belongs to a user namespace, so this test runs itself in one of its own.
#[tokio::test]
async fn beyond_the_limit_of_watches_nothing_is_lost() {
    const INSIDE: &str = "FLOWGUARD_TEST_WATCH_LIMIT";
    if std::env::var_os(INSIDE).is_none() {
        let this = std::env::current_exe().unwrap();
        let name = "identity::cgroup_watch::tests::beyond_the_limit_of_watches_nothing_is_lost";
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c"])
            .arg("echo 3 >/proc/sys/user/max_inotify_watches && exec \"$0\" --exact \"$1\"")
            .arg(this)
            .arg(name)
            .env(INSIDE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("1 passed"), "{text}");
        return;
    }
    let top = TestCgroup::new();
    let mut listener = Listener::start(&top, |_| true).await;
    top.create("a/b/c/d");
    listener
        .until(|event| matches!(event, CgroupEvent::Unwatched { directories } if *directories == 2))
        .await;
    // Nobody watches c and d: this one is found by looking.
    let late = top.create("a/b/c/late");
    let expected = appeared(&top, &late);
    listener.until(|event| *event == expected).await;
    assert_eq!(listener.present.len(), 5);
}

#[tokio::test]
async fn a_missing_cgroup_cannot_be_watched() {
    let top = TestCgroup::new();
    let missing = format!("{}/missing", top.path());
    let Err(error) = CgroupWatch::new(top.root(), &missing, |_| true) else {
        panic!("{missing} exists");
    };
    assert!(error.to_string().contains(&missing), "{error}");
}

#[tokio::test]
async fn the_watch_ends_when_nobody_listens() {
    let top = TestCgroup::new();
    let watch = CgroupWatch::new(top.root(), top.path(), |_| true).unwrap();
    let (sender, receiver) = mpsc::channel(8);
    let running = tokio::spawn(watch.run(sender));
    drop(receiver);
    let ended = tokio::time::timeout(DEADLINE, running).await.unwrap();
    ended.unwrap().unwrap();
}
