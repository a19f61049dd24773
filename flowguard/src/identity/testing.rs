//! Things of this machine that a test may make, and that are removed when the test ends, also by
//! a panic. All of it needs root: without, a test fails.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::atomic::{AtomicU32, Ordering},
};

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
                && !std::thread::panicking()
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
