//! Removes what an earlier test run left behind because it was killed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use tempfile::TempDir;

use crate::cgroup;

/// Where bpffs is expected.
const BPFFS: &str = "/sys/fs/bpf";
/// First part of the name of each test's cgroup subtree.
const CGROUP_PREFIX: &str = "fgtest-";
/// First part of the name of each test's pin directory and temporary directory.
const DIR_PREFIX: &str = "flowguard-test-";

/// A name part no other living test has: the process id and a running number.
pub fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Name of the cgroup subtree of the test with this [`unique`] name.
pub fn cgroup_name(unique: &str) -> String {
    format!("{CGROUP_PREFIX}{unique}")
}

/// Pin directory of the test with this [`unique`] name.
pub fn pins(unique: &str) -> PathBuf {
    Path::new(BPFFS).join(format!("{DIR_PREFIX}{unique}"))
}

/// A new temporary directory for the test with this [`unique`] name.
///
/// # Errors
/// When it cannot be made.
pub fn temporary(unique: &str) -> Result<TempDir> {
    let prefix = format!("{DIR_PREFIX}{unique}-");
    Ok(tempfile::Builder::new().prefix(&prefix).tempdir()?)
}

/// Mounts bpffs if it is not, and removes the cgroups, processes, pins and files of test processes that
/// are no longer alive. To be called once, before the first test.
///
/// # Errors
/// When something does not let itself be removed.
pub fn prepare() -> Result<()> {
    if statfs(BPFFS)?.filesystem_type() != BPF_FS_MAGIC {
        mount(
            Some("bpf"),
            BPFFS,
            Some("bpf"),
            MsFlags::empty(),
            None::<&str>,
        )
        .with_context(|| format!("cannot mount bpffs on {BPFFS}"))?;
    }
    for name in abandoned(&cgroup::hierarchy()?, CGROUP_PREFIX)? {
        cgroup::remove(&name)?;
    }
    for directory in [PathBuf::from(BPFFS), env::temp_dir()] {
        for name in abandoned(&directory, DIR_PREFIX)? {
            fs::remove_dir_all(directory.join(name))?;
        }
    }
    Ok(())
}

/// The cgroups, pins and files of the process with this id, which leaves none when it ends.
///
/// # Errors
/// When a place to look in cannot be read.
pub fn left_by(pid: u32) -> Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    for (directory, prefix) in [
        (cgroup::hierarchy()?, CGROUP_PREFIX),
        (PathBuf::from(BPFFS), DIR_PREFIX),
        (env::temp_dir(), DIR_PREFIX),
    ] {
        let prefix = format!("{prefix}{pid}-");
        for entry in fs::read_dir(&directory)? {
            let name = entry?.file_name();
            if name.to_string_lossy().starts_with(&prefix) {
                left.push(directory.join(name));
            }
        }
    }
    Ok(left)
}

fn abandoned(directory: &Path, prefix: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let pid = name
            .strip_prefix(prefix)
            .and_then(|unique| unique.split_once('-'))
            .and_then(|(pid, _)| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            names.push(name);
        }
    }
    Ok(names)
}
