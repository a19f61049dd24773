//! Control groups: where they are mounted, their ids, and who is in them.
//!
//! A path is always the kernel's: relative to the root of the cgroup2 hierarchy, with a leading
//! `/`. A cgroup whose name is not UTF-8, or whose path is longer than the kernel accepts, is left
//! out everywhere: no container manager makes such cgroups, and whoever does in a subtree that was
//! delegated to them belongs to the nearest ancestor that is listed.

use std::{
    fs, io,
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::{Path, PathBuf},
};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::mountinfo::cgroup2_mounts;

/// The id of the hierarchy's root, whatever is mounted of it (`cgroup_init` in
/// `kernel/cgroup/cgroup.c`: "the root cgroup's id is always 1").
pub const ROOT_ID: u64 = 1;

/// Why cgroups cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// `/proc` does not tell.
    #[error("cannot read /proc/self/mountinfo, where the cgroup2 mount is looked up: {source}")]
    Mountinfo {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// There is no cgroup2.
    #[error(
        "no cgroup2 file system is mounted, so containers cannot be told apart; boot with systemd.unified_cgroup_hierarchy=1, or: mount -t cgroup2 none /sys/fs/cgroup"
    )]
    NotMounted,
    /// A cgroup's directory cannot be read.
    #[error("cannot read the cgroup {}: {source}", path.display())]
    Unreadable {
        /// Its directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// A cgroup that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Where in the hierarchy.
    pub path: String,
    /// What the kernel calls it.
    pub id: u64,
}

/// Where the cgroup2 hierarchy is mounted: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on hybrid
/// systems.
///
/// # Errors
/// It is mounted nowhere, or `/proc` is not readable.
pub fn find_cgroup2_root() -> Result<PathBuf, CgroupError> {
    let mountinfo =
        fs::read("/proc/self/mountinfo").map_err(|source| CgroupError::Mountinfo { source })?;
    cgroup2_mounts(&mountinfo)
        .into_iter()
        .map(|mount| mount.at)
        // Something else may have been mounted over it.
        .find(|at| statfs(at).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC))
        .ok_or(CgroupError::NotMounted)
}

/// The id of a cgroup, as `bpf_get_current_cgroup_id` and its relatives report it, from the
/// cgroup's directory.
///
/// It is the inode number: on 64-bit systems kernfs uses the whole id of a node as its inode
/// number (`kernfs_id_ino` in `include/linux/kernfs.h`), and an id is not used twice.
///
/// # Errors
/// The directory does not exist, or is no directory ([`io::ErrorKind::NotADirectory`]).
pub fn cgroup_id(directory: &Path) -> io::Result<u64> {
    let metadata = fs::symlink_metadata(directory)?;
    if !metadata.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(metadata.ino())
}

/// The cgroup2 path of a process; none if the process is gone, or is in no cgroup2.
pub fn cgroup_of_pid(pid: u32) -> Option<String> {
    cgroup2_line(&fs::read(format!("/proc/{pid}/cgroup")).ok()?)
}

/// The path in the `0::` line of `/proc/PID/cgroup` (cgroups(7)). A process can outlive its
/// cgroup's directory: the kernel's remark about that is cut off.
pub(super) fn cgroup2_line(text: &[u8]) -> Option<String> {
    let path = text
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"0::"))?;
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    String::from_utf8(path.to_vec()).ok()
}

/// The directory of a cgroup, given the mount point from [`find_cgroup2_root`].
pub fn directory(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// The path of the cgroup `name` in `parent`.
pub(super) fn child_path(parent: &str, name: &str) -> String {
    format!("{}/{name}", parent.trim_end_matches('/'))
}

/// The cgroups directly in `parent`, in no particular order.
pub(super) fn children(root: &Path, parent: &str) -> io::Result<Vec<Cgroup>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory(root, parent))? {
        let entry = entry?;
        if let (true, Ok(name)) = (entry.file_type()?.is_dir(), entry.file_name().into_string()) {
            found.push(Cgroup {
                path: child_path(parent, &name),
                id: entry.ino(),
            });
        }
    }
    Ok(found)
}

/// All cgroups below `below` (not itself), each after its parent. `below` is `/` for all.
///
/// # Errors
/// `below` is not readable. Cgroups that vanish meanwhile are left out.
pub fn cgroups(root: &Path, below: &str) -> Result<Vec<Cgroup>, CgroupError> {
    let mut found = children(root, below).map_err(|source| CgroupError::Unreadable {
        path: directory(root, below),
        source,
    })?;
    let mut next = 0;
    while let Some(cgroup) = found.get(next) {
        let more = children(root, &cgroup.path).unwrap_or_default();
        found.extend(more);
        next += 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::TestCgroup;

    #[test]
    fn the_unified_line_is_found() {
        let hybrid = b"9:name=systemd:/x\n8:pids:/y\n0::/docker/a:b\n";
        assert_eq!(cgroup2_line(hybrid).as_deref(), Some("/docker/a:b"));
        assert_eq!(cgroup2_line(b"0::/\n").as_deref(), Some("/"));
        assert_eq!(
            cgroup2_line(b"0::/lxc/web (deleted)\n").as_deref(),
            Some("/lxc/web")
        );
        assert_eq!(cgroup2_line(b"8:pids:/0::/y\n"), None);
        assert_eq!(cgroup2_line(b"0::/\xff\n"), None);
    }

    #[test]
    fn the_root_is_the_root() {
        let root = find_cgroup2_root().unwrap();
        assert_eq!(cgroup_id(&root).unwrap(), ROOT_ID);
    }

    #[test]
    fn a_new_subtree_is_listed_with_its_ids() {
        let top = TestCgroup::new();
        let path = top.create("a/b");
        let listed = cgroups(top.root(), top.path()).unwrap();
        let paths: Vec<&str> = listed.iter().map(|cgroup| cgroup.path.as_str()).collect();
        assert_eq!(paths, [format!("{}/a", top.path()), path.clone()]);
        for cgroup in &listed {
            let directory = directory(top.root(), &cgroup.path);
            assert_eq!(cgroup.id, cgroup_id(&directory).unwrap());
        }
        assert!(
            cgroups(top.root(), "/")
                .unwrap()
                .iter()
                .any(|cgroup| cgroup.path == path)
        );
    }

    #[test]
    fn a_process_is_found_in_its_cgroup() {
        let top = TestCgroup::new();
        let process = top.spawn("a", std::process::Command::new("sleep").arg("1000"));
        assert_eq!(
            cgroup_of_pid(process.id()),
            Some(format!("{}/a", top.path()))
        );
        let pid = process.id();
        drop(process);
        assert_eq!(cgroup_of_pid(pid), None);
    }

    #[test]
    fn what_does_not_exist_is_an_error() {
        let top = TestCgroup::new();
        let missing = format!("{}/missing", top.path());
        assert!(cgroups(top.root(), &missing).is_err());
        assert!(cgroup_id(&directory(top.root(), &missing)).is_err());
        assert!(cgroup_id(&top.root().join("cgroup.procs")).is_err());
    }
}
