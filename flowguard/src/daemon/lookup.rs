//! Look-ups that may block, away from the daemon's task: name services can take seconds, and
//! walking `/proc` takes milliseconds.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    time::Duration,
};

use tokio::sync::{Semaphore, mpsc};

use crate::identity::{
    links::Link,
    mapping::{
        Mapping,
        read::{self, Origin, ReadError},
        table::BadLine,
    },
    names::{self, Container, NameError, Teller},
    netns::NetnsError,
    peers::{self, Look, Peer, ResolvedPeers},
    routes,
    users::{self, LookupError, SubordinateRange},
};

/// The answer of a look-up.
#[derive(Debug)]
pub(super) enum Lookup {
    /// The name of a user, if it has one.
    User {
        /// Who.
        uid: u32,
        /// The name.
        name: Result<Option<String>, LookupError>,
    },
    /// A uid has no name of its own and is subordinate to a user.
    Subordinate {
        /// Which.
        uid: u32,
        /// To whom, and with which others.
        range: SubordinateRange,
    },
    /// The groups of a user.
    Groups {
        /// His name.
        user: String,
        /// Names of the groups, the primary one among them.
        groups: Result<Vec<String>, LookupError>,
    },
    /// What a container is called.
    Container {
        /// Its cgroup.
        path: String,
        /// What its engine says.
        answer: Result<Option<Container>, NameError>,
    },
    /// The table of tenants.
    Mapping {
        /// Which question this answers.
        asked: u64,
        /// The table, if it could be read.
        read: TableRead,
    },
    /// The devices that lead to the world.
    Uplinks(io::Result<BTreeSet<u32>>),
    /// What is at the other end of some devices.
    Peers {
        /// The devices.
        links: Vec<Link>,
        /// Their peers by interface index.
        peers: Result<HashMap<u32, Peer>, NetnsError>,
    },
}

/// Asks for a user's name.
pub(super) fn user(uid: u32, answers: &mpsc::Sender<Lookup>) {
    spawn(answers, move || {
        let name = users::user_name(uid);
        if let Ok(None) = name
            && let Some(range) = users::subordinate_range(uid)
        {
            return Some(Lookup::Subordinate { uid, range });
        }
        Some(Lookup::User { uid, name })
    });
}

/// Asks for the names of many users, one after the other.
pub(super) fn users(uids: Vec<u32>, answers: &mpsc::Sender<Lookup>) {
    let answers = answers.clone();
    tokio::task::spawn_blocking(move || {
        for uid in uids {
            let name = users::user_name(uid);
            if answers.blocking_send(Lookup::User { uid, name }).is_err() {
                // The daemon stops.
                return;
            }
        }
    });
}

/// Asks for the groups of users, one after the other.
pub(super) fn groups(users: Vec<String>, answers: &mpsc::Sender<Lookup>) {
    let answers = answers.clone();
    tokio::task::spawn_blocking(move || {
        for user in users {
            let groups = users::groups_of(&user);
            let answer = Lookup::Groups { user, groups };
            if answers.blocking_send(answer).is_err() {
                // The daemon stops.
                return;
            }
        }
    });
}

/// Engines that are asked at the same time.
static ENGINES_AT_ONCE: Semaphore = Semaphore::const_new(16);

/// Asks what the container at this cgroup path, of this id, is called.
pub(super) fn container_name(
    path: String,
    id: String,
    tellers: Vec<Teller>,
    limit: Duration,
    answers: &mpsc::Sender<Lookup>,
) {
    let answers = answers.clone();
    tokio::spawn(async move {
        // Never closed.
        let _turn = ENGINES_AT_ONCE.acquire().await;
        let answer = names::name_of(&tellers, &id, limit).await;
        // Nobody listens any more when the daemon stops.
        drop(answers.send(Lookup::Container { path, answer }).await);
    });
}

/// The table of tenants, with the first line that was left out and how many were.
pub(super) type TableRead = Result<(Mapping, Option<(BadLine, usize)>), ReadError>;

/// Asks for the table of tenants.
pub(super) fn mapping(origin: Origin, asked: u64, answers: &mpsc::Sender<Lookup>) {
    let answers = answers.clone();
    tokio::spawn(async move {
        let read = read::read(&origin).await;
        // Nobody listens any more when the daemon stops.
        drop(answers.send(Lookup::Mapping { asked, read }).await);
    });
}

/// Asks for the uid of a user's name. No answer if nobody is called that.
pub(super) fn uid(name: String, answers: &mpsc::Sender<Lookup>) {
    spawn(answers, move || match users::uid_of(&name) {
        Ok(uid) => Some(Lookup::User {
            uid: uid?,
            name: Ok(Some(name)),
        }),
        Err(error) => {
            tracing::error!(%error, "cannot look a user up");
            None
        }
    });
}

/// Links that may wait to be asked about; what does not fit is asked about at a later tick.
const QUEUE: usize = 4096;

/// Asks what is at the other end of the devices that are sent. Those that come in while one look at
/// `/proc` is under way share the next: with many devices at once, a look for each would take
/// longer than all of them matter.
pub(super) fn peers(look: Look, answers: &mpsc::Sender<Lookup>) -> mpsc::Sender<Link> {
    let (devices, asked) = mpsc::channel(QUEUE);
    let (found, mut resolved) = mpsc::channel::<ResolvedPeers>(1);
    tokio::spawn(peers::resolve_peers(asked, found, look));
    let answers = answers.clone();
    tokio::spawn(async move {
        while let Some(ResolvedPeers { edges, peers }) = resolved.recv().await {
            let answer = Lookup::Peers {
                links: edges,
                peers,
            };
            if answers.send(answer).await.is_err() {
                // The daemon stops.
                return;
            }
        }
    });
    devices
}

/// Asks which devices lead to the world.
pub(super) fn uplinks(answers: &mpsc::Sender<Lookup>) {
    let answers = answers.clone();
    tokio::spawn(async move {
        let found = routes::uplinks().await;
        // Nobody listens any more when the daemon stops.
        drop(answers.send(Lookup::Uplinks(found)).await);
    });
}

fn spawn(answers: &mpsc::Sender<Lookup>, look: impl FnOnce() -> Option<Lookup> + Send + 'static) {
    let answers = answers.clone();
    tokio::task::spawn_blocking(move || {
        if let Some(answer) = look() {
            // Nobody listens any more when the daemon stops.
            drop(answers.blocking_send(answer));
        }
    });
}
