//! Things of this machine that a test may make, and that are removed when the test ends, also by
//! a panic. All of it needs root: without, a test fails.

use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    panic::resume_unwind,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns, unshare},
};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, new_connection};

use super::cgroup::{cgroups, directory, find_cgroup2_root};

/// A name nobody else has on this machine, short enough for an interface.
pub(super) fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}{}-{count}", std::process::id())
}

/// A cgroup with everything below it.
pub(super) struct TestCgroup {
    root: PathBuf,
    path: String,
}

impl TestCgroup {
    pub(super) fn new() -> Self {
        let root = find_cgroup2_root().unwrap();
        let path = format!("/{}", unique("flowguard-test-"));
        fs::create_dir(directory(&root, &path)).expect("tests of cgroups run as root");
        Self { root, path }
    }

    /// Where cgroup2 is mounted.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Makes a cgroup below, and its parents; its path.
    pub(super) fn create(&self, below: &str) -> String {
        let path = format!("{}/{below}", self.path);
        fs::create_dir_all(directory(&self.root, &path)).unwrap();
        path
    }

    /// Removes a cgroup below; its path.
    pub(super) fn remove(&self, below: &str) -> String {
        let path = format!("{}/{below}", self.path);
        fs::remove_dir(directory(&self.root, &path)).unwrap();
        path
    }

    /// Starts a process in the cgroup `below`.
    pub(super) fn spawn(&self, below: &str, command: &mut Command) -> TestProcess {
        let path = self.create(below);
        let process = TestProcess(command.spawn().unwrap());
        let procs = directory(&self.root, &path).join("cgroup.procs");
        fs::write(procs, process.id().to_string()).unwrap();
        process
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let mut all = cgroups(&self.root, &self.path).unwrap_or_default();
        all.reverse();
        let paths = all.into_iter().map(|cgroup| cgroup.path);
        for path in paths.chain([self.path.clone()]) {
            let removed = fs::remove_dir(directory(&self.root, &path));
            if let Err(error) = removed
                && error.kind() != io::ErrorKind::NotFound
                && !thread::panicking()
            {
                panic!("cannot remove the cgroup {path}: {error}");
            }
        }
    }
}

/// A process that ends with the test.
pub(super) struct TestProcess(Child);

impl TestProcess {
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for TestProcess {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Runs a test on a thread in a network namespace of its own, which plays the host. The namespace
/// ends with the thread and the sockets.
pub(super) fn on_a_host<F: Future>(test: impl FnOnce() -> F + Send + 'static) {
    on_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("tests of network namespaces run as root");
        block_on(test());
    });
}

/// On this very thread, since a thread is what is in a network namespace.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn on_thread<R: Send>(run: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// A network namespace other than the test's: a container's.
pub(crate) struct TestNetns {
    file: File,
    mounted: Option<PathBuf>,
}

impl TestNetns {
    pub(crate) fn new() -> Self {
        on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            Self::current()
        })
    }

    /// The one this thread is in.
    pub(super) fn current() -> Self {
        Self {
            file: File::open("/proc/thread-self/ns/net").unwrap(),
            mounted: None,
        }
    }

    /// One that has a name in /run/netns, as `ip netns add` makes them.
    pub(super) fn named() -> Self {
        let mut netns = Self::new();
        fs::create_dir_all("/run/netns").unwrap();
        let path = Path::new("/run/netns").join(unique("flowguard-test-"));
        File::create_new(&path).unwrap();
        netns.mounted = Some(path.clone());
        let source = format!("/proc/self/fd/{}", netns.file.as_raw_fd());
        let none = None::<&Path>;
        mount(Some(source.as_str()), &path, none, MsFlags::MS_BIND, none).unwrap();
        netns
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Runs something inside.
    pub(crate) fn run<R: Send>(&self, inside: impl FnOnce() -> R + Send) -> R {
        on_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET).unwrap();
            inside()
        })
    }

    /// Runs something asynchronous inside.
    pub(crate) fn run_async(&self, inside: impl AsyncFnOnce() + Send) {
        self.run(|| block_on(inside()));
    }
}

impl Drop for TestNetns {
    fn drop(&mut self) {
        if let Some(path) = &self.mounted {
            let unmounted = umount2(path, MntFlags::MNT_DETACH);
            fs::remove_file(path).unwrap();
            assert!(unmounted.is_ok() || thread::panicking());
        }
    }
}

/// Interfaces of the namespace a test runs in.
pub(super) struct TestLinks(Handle);

impl TestLinks {
    pub(super) fn new() -> Self {
        let (connection, handle, _) = new_connection().unwrap();
        tokio::spawn(connection);
        Self(handle)
    }

    /// Makes a pair; the index of the first.
    pub(super) async fn veth(&self, name: &str, peer: &str) -> u32 {
        let veth = LinkVeth::new(name, peer).build();
        self.0.link().add(veth).execute().await.unwrap();
        index(name)
    }

    /// Moves an interface into another namespace.
    pub(super) async fn give(&self, name: &str, to: &TestNetns) {
        self.set(name, |link| link.setns_by_fd(to.file.as_raw_fd()))
            .await;
    }

    pub(super) async fn rename(&self, name: &str, new: &str) {
        self.set(name, |link| link.name(new)).await;
    }

    async fn set(
        &self,
        name: &str,
        change: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) {
        let change = change(LinkUnspec::new_with_index(index(name))).build();
        self.0.link().set(change).execute().await.unwrap();
    }

    pub(super) async fn delete(&self, name: &str) {
        self.0.link().del(index(name)).execute().await.unwrap();
    }

    pub(super) async fn add_address(&self, name: &str, address: &str) {
        let address = address.parse().unwrap();
        let adding = self.0.address().add(index(name), address, 32);
        adding.execute().await.unwrap();
    }
}

pub(super) fn index(name: &str) -> u32 {
    if_nametoindex(name).unwrap()
}
