//! Where everything is pinned.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::{Array, Map, MapData, MapError};
use flowguard_common::{
    CONTRACT,
    names::{
        MAP_ADDRS, MAP_BANK, MAP_BUCKETS, MAP_CGROUPS, MAP_CONTRACT, MAP_COUNTERS, MAP_EDGES,
        MAP_EVENT_RATE, MAP_EVENTS, MAP_FALLBACK, MAP_FANOUT, MAP_FLOWS, MAP_NETNS, MAP_SETTINGS,
        MAP_SOURCES, MAP_STAMPS, MAP_STATS, MAP_STRAY_RATE, MAP_TRUSTED, MAP_UIDS, MAP_VERDICTS,
    },
};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::KernelError;

/// All maps; every one is pinned.
pub(super) const MAPS: [&str; 21] = [
    MAP_CONTRACT,
    MAP_SETTINGS,
    MAP_BANK,
    MAP_TRUSTED,
    MAP_UIDS,
    MAP_CGROUPS,
    MAP_NETNS,
    MAP_EDGES,
    MAP_SOURCES,
    MAP_COUNTERS,
    MAP_FANOUT,
    MAP_FALLBACK,
    MAP_VERDICTS,
    MAP_BUCKETS,
    MAP_EVENT_RATE,
    MAP_EVENTS,
    MAP_FLOWS,
    MAP_ADDRS,
    MAP_STRAY_RATE,
    MAP_STAMPS,
    MAP_STATS,
];

/// Where the BPF file system belongs.
const BPFFS: &str = "/sys/fs/bpf";

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

/// Holds a guard for one process.
#[derive(Debug)]
#[expect(dead_code, reason = "it is held, not used")]
pub struct PinsLock(Flock<fs::File>);

/// The folder with all pins: `maps/NAME`, `links/PROGRAM`, `links/PROGRAM-IFINDEX`.
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

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.dir.join("maps").join(name)
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
        for folder in ["maps", "links"] {
            let path = self.dir.join(folder);
            fs::create_dir_all(&path).map_err(|source| KernelError::File {
                action: "create",
                path,
                source,
            })?;
        }
        Ok(())
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

    /// Removes maps that a start which failed half-way left behind: they may be of any layout.
    pub(super) fn remove_unfinished(&self) -> Result<(), KernelError> {
        for name in MAPS {
            let path = self.map(name);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(KernelError::File {
                        action: "remove",
                        path,
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether the nearest existing folder is on a BPF file system.
    fn is_on_bpffs(&self) -> bool {
        self.dir
            .ancestors()
            .find(|folder| folder.exists())
            .is_some_and(is_bpffs)
    }

    /// What contract the pinned maps follow; none: nothing is pinned, or not completely yet.
    ///
    /// # Errors
    ///
    /// The pin cannot be read.
    pub fn contract(&self) -> Result<Option<u32>, KernelError> {
        let path = self.map(MAP_CONTRACT);
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            // To whoever may not look, nothing is there.
            Err(source) => {
                return Err(KernelError::File {
                    action: "read",
                    path,
                    source,
                });
            }
        }
        let contract: Array<MapData, u32> = self.open(MAP_CONTRACT)?;
        let found = contract
            .get(&0, 0)
            .map_err(KernelError::map(MAP_CONTRACT))?;
        Ok((found != 0).then_some(found))
    }

    /// Fails unless a guard of our contract is pinned.
    pub(super) fn require(&self) -> Result<(), KernelError> {
        match self.contract()? {
            Some(CONTRACT) => Ok(()),
            Some(found) => Err(self.mismatch(found)),
            None => Err(KernelError::NotAttached {
                path: self.dir.clone(),
            }),
        }
    }

    pub(super) fn mismatch(&self, found: u32) -> KernelError {
        KernelError::Contract {
            path: self.dir.clone(),
            found,
            ours: CONTRACT,
        }
    }

    /// A typed handle on a pinned map.
    pub(super) fn open<M>(&self, name: &'static str) -> Result<M, KernelError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        self.data(name)
            .and_then(Map::from_map_data)
            .and_then(M::try_from)
            .map_err(KernelError::map(name))
    }

    /// How many elements a pinned map has room for.
    pub(super) fn capacity(&self, name: &'static str) -> Result<u32, KernelError> {
        self.data(name)
            .and_then(|data| data.info())
            .map(|info| info.max_entries())
            .map_err(KernelError::map(name))
    }

    pub(super) fn data(&self, name: &str) -> Result<MapData, MapError> {
        MapData::from_pin(self.map(name))
    }

    /// Removes all pins and the folders; the kernel frees what nobody holds any more.
    pub(super) fn remove(&self) -> Result<usize, KernelError> {
        let mut removed = 0;
        for folder in ["links", "maps"] {
            let path = self.dir.join(folder);
            let Ok(entries) = fs::read_dir(&path) else {
                continue;
            };
            for entry in entries.flatten() {
                let path = entry.path();
                fs::remove_file(&path).map_err(|source| KernelError::File {
                    action: "remove",
                    path,
                    source,
                })?;
                removed += 1;
            }
            fs::remove_dir(&path).map_err(|source| KernelError::File {
                action: "remove",
                path,
                source,
            })?;
        }
        if self.dir.exists() {
            let path = self.dir.clone();
            fs::remove_dir(&path).map_err(|source| KernelError::File {
                action: "remove",
                path,
                source,
            })?;
        }
        Ok(removed)
    }
}
