//! Follows cgroups as they appear and vanish, through inotify.
//!
//! Events from inotify only say where to look: what is reported comes from comparing what is there
//! with what was reported before. So no order of events, no lost and no late one can make the
//! reports wrong for longer than it takes to read the rest of the queue.
//!
//! kernfs reports the creation and removal of directories to a watch on their parent, on hybrid
//! and unified systems alike, but reports nothing to a watch on the removed directory itself, and
//! keeps that watch: it is taken away here. cgroup2 has no renames.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    path::PathBuf,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor},
};
use tokio::{io::unix::AsyncFd, sync::mpsc};

use super::cgroup::{cgroup_id, child_path, children, directory};

/// How often cgroups without a watch are looked at.
const RESCAN: Duration = Duration::from_secs(5);

/// What happened to a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupEvent {
    /// It exists. Parents come before their children.
    Appeared {
        /// Where in the hierarchy.
        path: String,
        /// What the kernel calls it.
        id: u64,
    },
    /// It no longer exists. Children come before their parents. Sockets created in it may live on
    /// and still carry its id.
    Gone {
        /// Where in the hierarchy it was.
        path: String,
        /// What the kernel calls it.
        id: u64,
    },
    /// All that existed when the watch began, or when inotify's queue overflowed, is reported.
    Synced,
    /// So many directories are not watched, because the system's limit is reached
    /// (`sysctl fs.inotify.max_user_watches`): they are looked at every few seconds instead.
    Unwatched {
        /// How many; more than before.
        directories: usize,
    },
}

/// Why cgroups cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupWatchError {
    /// There is no inotify to be had.
    #[error(
        "cannot watch cgroups, so new containers would go unnoticed: inotify: {source}; if it says too many open files, raise sysctl fs.inotify.max_user_instances"
    )]
    Inotify {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// There is nothing to watch.
    #[error("cannot watch the cgroup {}: {source}", path.display())]
    Unreadable {
        /// Its directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// A watch on everything below one cgroup.
#[derive(Debug)]
pub struct CgroupWatch<D> {
    inotify: AsyncFd<Instance>,
    tree: Tree<D>,
}

/// tokio wants a raw file descriptor.
#[derive(Debug)]
struct Instance(Inotify);

impl AsRawFd for Instance {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl<D: Fn(&str) -> bool> CgroupWatch<D> {
    /// Watches everything below the cgroup `below` (not itself; `/` for all), where `root` is the
    /// mount point of cgroup2. To be called in a tokio runtime.
    ///
    /// `descend` says of a cgroup whether those in it matter. Say no for a container: the cgroups
    /// in it are its own affair, and one that makes a million of them would otherwise use up
    /// everybody's watches.
    ///
    /// # Errors
    /// There is no such cgroup, or no inotify to be had.
    pub fn new(
        root: impl Into<PathBuf>,
        below: &str,
        descend: D,
    ) -> Result<Self, CgroupWatchError> {
        let root = root.into();
        let path = directory(&root, below);
        cgroup_id(&path).map_err(|source| CgroupWatchError::Unreadable { path, source })?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map_err(io::Error::from)
            .and_then(|inotify| {
                // SAFETY: the instance owns its file descriptor, which is neither replaced nor
                // closed before the `AsyncFd` is dropped.
                let registered = unsafe { AsyncFd::register(Instance(inotify)) };
                registered.map_err(io::Error::from)
            })
            .map_err(|source| CgroupWatchError::Inotify { source })?;
        let tree = Tree {
            root,
            below: below.to_owned(),
            descend,
            known: BTreeMap::new(),
            by_watch: HashMap::new(),
            to_visit: Vec::new(),
            unwatched: 0,
            warned: 0,
            events: Vec::new(),
        };
        Ok(Self { inotify, tree })
    }

    /// Reports what exists, then what changes, until nobody listens.
    ///
    /// # Errors
    /// inotify failed; changes would go unnoticed from here on.
    pub async fn run(mut self, events: mpsc::Sender<CgroupEvent>) -> Result<(), CgroupWatchError> {
        self.tree.compare(&self.inotify.get_ref().0);
        self.tree.events.push(CgroupEvent::Synced);
        loop {
            for event in self.tree.events.drain(..) {
                if events.send(event).await.is_err() {
                    return Ok(());
                }
            }
            tokio::select! {
                () = events.closed() => return Ok(()),
                changes = read(&self.inotify) => {
                    let changes = changes.map_err(|source| CgroupWatchError::Inotify { source })?;
                    self.tree.apply(&self.inotify.get_ref().0, &changes);
                }
                () = tokio::time::sleep(RESCAN), if self.tree.unwatched > 0 => {
                    self.tree.compare(&self.inotify.get_ref().0);
                }
            }
        }
    }
}

async fn read(inotify: &AsyncFd<Instance>) -> io::Result<Vec<InotifyEvent>> {
    loop {
        let mut ready = inotify.readable().await?;
        let events = ready.try_io(|inotify| Ok(inotify.get_ref().0.read_events()?));
        if let Ok(events) = events {
            return events;
        }
    }
}

/// What was reported, and what is watched.
#[derive(Debug)]
struct Tree<D> {
    root: PathBuf,
    below: String,
    descend: D,
    /// By path, so that what is below a cgroup follows it.
    known: BTreeMap<String, Node>,
    by_watch: HashMap<WatchDescriptor, String>,
    to_visit: Vec<String>,
    /// How many directories have no watch.
    unwatched: usize,
    /// How many the listener was told of.
    warned: usize,
    events: Vec<CgroupEvent>,
}

#[derive(Debug)]
struct Node {
    id: u64,
    watch: Option<WatchDescriptor>,
}

impl<D: Fn(&str) -> bool> Tree<D> {
    fn apply(&mut self, inotify: &Inotify, changes: &[InotifyEvent]) {
        for change in changes {
            if change.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                self.compare(inotify);
                self.events.push(CgroupEvent::Synced);
            } else if change.mask.contains(AddWatchFlags::IN_IGNORED) {
                self.by_watch.remove(&change.wd);
            } else if let Some(name) = change.name.as_ref().and_then(|name| name.to_str())
                && change.mask.contains(AddWatchFlags::IN_ISDIR)
                && let Some(parent) = self.by_watch.get(&change.wd)
            {
                let path = child_path(parent, name);
                let id = cgroup_id(&directory(&self.root, &path)).ok();
                self.settle(inotify, &path, id);
                self.visit_all(inotify);
            }
        }
    }

    /// Compares everything, and tries again to watch what could not be watched.
    fn compare(&mut self, inotify: &Inotify) {
        let known: Vec<String> = self.known.keys().cloned().collect();
        for path in &known {
            let id = cgroup_id(&directory(&self.root, path)).ok();
            self.settle(inotify, path, id);
        }
        self.unwatched = 0;
        self.to_visit.push(self.below.clone());
        self.to_visit.extend(self.known.keys().cloned());
        self.visit_all(inotify);
        self.warned = self.warned.min(self.unwatched);
    }

    /// Makes what is known of one cgroup match what is there.
    fn settle(&mut self, inotify: &Inotify, path: &str, id: Option<u64>) {
        if self.known.get(path).map(|node| node.id) == id {
            return;
        }
        self.forget(inotify, path);
        if let Some(id) = id {
            let path = path.to_owned();
            self.known.insert(path.clone(), Node { id, watch: None });
            self.to_visit.push(path.clone());
            self.events.push(CgroupEvent::Appeared { path, id });
        }
    }

    fn forget(&mut self, inotify: &Inotify, path: &str) {
        let below = child_path(path, "");
        let mut lost: Vec<String> = self
            .known
            .range(below.clone()..)
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&below))
            .cloned()
            .collect();
        lost.insert(0, path.to_owned());
        for path in lost.into_iter().rev() {
            if let Some(node) = self.known.remove(&path) {
                self.unwatch(inotify, node.watch);
                let id = node.id;
                self.events.push(CgroupEvent::Gone { path, id });
            }
        }
    }

    fn unwatch(&mut self, inotify: &Inotify, watch: Option<WatchDescriptor>) {
        if let Some(watch) = watch
            && self.by_watch.remove(&watch).is_some()
            && let Err(error) = inotify.rm_watch(watch)
        {
            // Newer kernels drop the watch with the directory.
            tracing::trace!(%error, "a watch was gone already");
        }
    }

    fn visit_all(&mut self, inotify: &Inotify) {
        while let Some(path) = self.to_visit.pop() {
            self.visit(inotify, &path);
        }
        if self.unwatched > self.warned {
            self.warned = self.unwatched;
            let directories = self.unwatched;
            self.events.push(CgroupEvent::Unwatched { directories });
        }
    }

    /// Watches a cgroup, and only then looks what is in it: what appears in between is seen twice
    /// rather than never.
    fn visit(&mut self, inotify: &Inotify, path: &str) {
        if path != self.below && !(self.descend)(path) {
            return;
        }
        let wanted = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE;
        let added = inotify.add_watch(
            &directory(&self.root, path),
            wanted | AddWatchFlags::IN_ONLYDIR | AddWatchFlags::IN_DONT_FOLLOW,
        );
        match added {
            Ok(watch) => {
                self.by_watch.insert(watch, path.to_owned());
                let node = self.known.get_mut(path);
                let before = node.and_then(|node| node.watch.replace(watch));
                self.unwatch(inotify, before.filter(|before| *before != watch));
            }
            Err(Errno::ENOSPC | Errno::ENOMEM) => self.unwatched += 1,
            // It vanished, which its parent reports.
            Err(_) => return,
        }
        for child in children(&self.root, path).unwrap_or_default() {
            self.settle(inotify, &child.path, Some(child.id));
        }
    }
}

#[cfg(test)]
mod tests;
