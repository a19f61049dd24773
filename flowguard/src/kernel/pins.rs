//! Where everything is pinned.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::KernelError;

/// Where the BPF file system belongs.
const BPFFS: &str = "/sys/fs/bpf";

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

/// Removes a pin, or a file beside the pins; none there is well.
///
/// # Errors
///
/// It cannot be removed.
pub(super) fn unpin(path: &Path) -> Result<(), KernelError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(KernelError::File {
            action: "remove",
            path: path.to_path_buf(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Holds a guard for one process.
#[derive(Debug)]
#[expect(dead_code, reason = "it is held, not used")]
pub struct PinsLock(Flock<fs::File>);

/// The folder with all pins: `maps-N/NAME` (see [`super::generation`]), `links/PROGRAM`,
/// `links/PROGRAM-IFINDEX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    dir: PathBuf,
}

impl Pins {
    /// Pins below `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn link(&self, name: &str) -> PathBuf {
        self.dir.join("links").join(name)
    }

    /// The link of a program at a device.
    pub(super) fn device(&self, program: &str, ifindex: u32) -> PathBuf {
        self.link(&format!("{program}-{ifindex}"))
    }

    /// Names of pinned links.
    pub(super) fn links(&self) -> Result<Vec<String>, KernelError> {
        let path = self.dir.join("links");
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(KernelError::File {
                    action: "read",
                    path,
                    source,
                });
            }
        };
        Ok(entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }

    /// Makes the folders, and mounts the BPF file system where it should be and is not.
    pub(super) fn prepare(&self) -> Result<(), KernelError> {
        let path = PathBuf::from(BPFFS);
        if !self.is_on_bpffs() {
            if !self.dir.starts_with(&path) || is_bpffs(&path) {
                return Err(KernelError::NotBpfFs {
                    path: self.dir.clone(),
                });
            }
            mount(
                Some("bpf"),
                &path,
                Some("bpf"),
                MsFlags::empty(),
                None::<&str>,
            )
            .map_err(|source| KernelError::BpfFs { path, source })?;
        }
        let path = self.dir.join("links");
        fs::create_dir_all(&path).map_err(|source| KernelError::File {
            action: "create",
            path,
            source,
        })
    }

    /// Makes sure that nobody else runs or removes this guard, for as long as the lock lives. The
    /// folder itself is locked: whoever sees the same pins sees the same lock.
    ///
    /// # Errors
    ///
    /// Somebody else has it.
    pub fn lock(&self) -> Result<PinsLock, KernelError> {
        let path = self.dir.clone();
        let folder = fs::File::open(&path).map_err(|source| KernelError::File {
            action: "open",
            path: path.clone(),
            source,
        })?;
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(PinsLock(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Err(KernelError::Locked { path }),
            Err((_, errno)) => Err(KernelError::File {
                action: "lock",
                path,
                source: errno.into(),
            }),
        }
    }

    /// Whether the nearest existing folder is on a BPF file system.
    fn is_on_bpffs(&self) -> bool {
        self.dir
            .ancestors()
            .find(|folder| folder.exists())
            .is_some_and(is_bpffs)
    }
}
