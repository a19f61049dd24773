//! A subtree of the cgroup2 hierarchy for one test. Every process of the test lives in it, so
//! that one write ends them all.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait::{SOON, until};

/// A test's subtree; its processes are killed and its directories removed when it is dropped.
#[derive(Debug)]
pub struct Subtree {
    name: String,
    root: PathBuf,
}

impl Subtree {
    /// Makes the subtree directly under the root of the cgroup2 hierarchy.
    ///
    /// # Errors
    /// When there is no cgroup2 hierarchy or it is not writable.
    pub fn new(name: &str) -> Result<Self> {
        let root = hierarchy()?.join(name);
        fs::create_dir(&root).with_context(|| format!("cannot make cgroup {}", root.display()))?;
        Ok(Self {
            name: name.to_owned(),
            root,
        })
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its path relative to the root of the hierarchy, as `/proc/PID/cgroup` shows it.
    pub fn relative(&self) -> String {
        format!("/{}", self.name)
    }

    /// A cgroup inside; made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn child(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        fs::create_dir_all(&path)
            .with_context(|| format!("cannot make cgroup {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Subtree {
    fn drop(&mut self) {
        // A destructor cannot fail; what stays behind is swept by the next test run.
        remove(&self.name).ok();
    }
}

/// Kills what runs in the subtree of that name and removes it, from the cgroup v1 hierarchies as
/// well, where Docker makes directories of the same name.
///
/// # Errors
/// When processes or directories do not go away in time.
pub fn remove(name: &str) -> Result<()> {
    let root = hierarchy()?.join(name);
    if root.exists() {
        until(
            "all processes of the test's cgroup to be gone",
            SOON,
            || {
                kill_all(&root)?;
                let events = fs::read_to_string(root.join("cgroup.events"))?;
                ensure!(events.contains("populated 0"), "{events}");
                Ok(())
            },
        )?;
    }
    for hierarchy in mounts("cgroup2")?.into_iter().chain(mounts("cgroup")?) {
        let directory = hierarchy.join(name);
        until(
            &format!("{} to be removed", directory.display()),
            SOON,
            || Ok(remove_tree(&directory)?),
        )?;
    }
    Ok(())
}

/// Kills what runs in a cgroup and below: at once where the kernel offers that (Linux 5.14), else
/// process by process, which misses those that are just being started.
fn kill_all(cgroup: &Path) -> Result<()> {
    let kill_file = cgroup.join("cgroup.kill");
    if kill_file.exists() {
        return Ok(fs::write(kill_file, "1")?);
    }
    for pid in fs::read_to_string(cgroup.join("cgroup.procs"))?.lines() {
        // It may have ended.
        kill(Pid::from_raw(pid.parse()?), Signal::SIGKILL).ok();
    }
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            kill_all(&entry.path())?;
        }
    }
    Ok(())
}

/// The root of the cgroup2 hierarchy, wherever it is mounted.
///
/// # Errors
/// When it is not mounted.
pub fn hierarchy() -> Result<PathBuf> {
    mounts("cgroup2")?
        .into_iter()
        .next()
        .context("no cgroup2 hierarchy is mounted; mount one: mount -t cgroup2 cgroup2 DIRECTORY")
}

fn mounts(kind: &str) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mounts")?;
    let mounts = table.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let directory = fields.next()?;
        (fields.next()? == kind).then(|| PathBuf::from(directory))
    });
    Ok(mounts.collect())
}

/// Removes directories only: the files of a cgroup go with it.
fn remove_tree(directory: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(directory)
}
