//! Sets of maps. A guard that is replaced by one of another layout leaves its maps behind while the
//! new ones are made and programs change over; then there are two sets, and counts in both.
//!
//! ```text
//! maps-1/  maps-2/   a folder of pins for each set; a map that both use is pinned in both
//! maps -> maps-1     the set that is in force
//! ```
//!
//! A set whose number is higher than that in force is a replacement that is not finished: once its
//! `CONTRACT` is written, programs may be counting in it. A lower number is a set that is done with.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::{Map, MapData, MapError};
use flowguard_common::{CONTRACT, OLDEST_CONTRACT, names::MAP_CONTRACT};

use super::{KernelError, Pins, link, pins::unpin, raw::RawMap};

/// How the folders' names begin; the number follows.
const PREFIX: &str = "maps-";
/// The symbolic link to the one in force.
const IN_FORCE: &str = "maps";
/// What it is called while it is made, until it replaces the one there is.
const NEXT: &str = "maps-next";

/// One set of maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    dir: PathBuf,
    number: u32,
}

impl Generation {
    /// Where a map is pinned.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn data(&self, name: &str) -> Result<MapData, MapError> {
        MapData::from_pin(self.path(name))
    }

    /// A typed handle on a map.
    pub(super) fn open<M>(&self, name: &'static str) -> Result<M, KernelError>
    where
        M: TryFrom<Map, Error = MapError>,
    {
        self.data(name)
            .and_then(Map::from_map_data)
            .and_then(M::try_from)
            .map_err(KernelError::map(name))
    }

    /// A map as bytes.
    pub(super) fn raw(&self, name: &'static str) -> Result<RawMap, KernelError> {
        RawMap::open(&self.path(name)).map_err(KernelError::map(name))
    }

    /// A map as bytes; none: this set has no such map, since another version made it.
    pub(super) fn raw_if_any(&self, name: &'static str) -> Result<Option<RawMap>, KernelError> {
        if self.path(name).exists() {
            self.raw(name).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The contract of the maps, and the oldest one that can take them over; none: they are not
    /// complete.
    fn contract(&self) -> Result<Option<(u32, u32)>, KernelError> {
        let Some(map) = self.raw_if_any(MAP_CONTRACT)? else {
            return Ok(None);
        };
        let word = |index: u32| {
            let value = map.get(&index.to_ne_bytes());
            let value = value.map_err(|source| KernelError::raw(MAP_CONTRACT, source))?;
            let bytes = value.and_then(|value| value.try_into().ok());
            Ok(bytes.map_or(0, u32::from_ne_bytes))
        };
        let version = word(0)?;
        if version == 0 {
            return Ok(None);
        }
        let oldest = if map.shape.max_entries > 1 {
            word(1)?
        } else {
            version
        };
        Ok(Some((version, oldest)))
    }

    /// Says that the maps are complete and what they mean.
    pub(super) fn mark(&self) -> Result<(), KernelError> {
        let map = self.raw(MAP_CONTRACT)?;
        // The first word last: it says that they are complete.
        for (index, word) in [(1_u32, OLDEST_CONTRACT), (0, CONTRACT)] {
            map.set(&index.to_ne_bytes(), &word.to_ne_bytes())
                .map_err(|source| KernelError::raw(MAP_CONTRACT, source))?;
        }
        Ok(())
    }

    /// Whether these maps are of exactly our contract.
    pub(super) fn is_ours(&self) -> Result<bool, KernelError> {
        Ok(self
            .contract()?
            .is_some_and(|(version, _)| version == CONTRACT))
    }

    pub(super) fn remove(&self) -> Result<usize, KernelError> {
        remove_folder(&self.dir)
    }
}

/// Removes a folder of pins; how many there were.
pub(super) fn remove_folder(path: &Path) -> Result<usize, KernelError> {
    let failed = |path: &Path, source| KernelError::File {
        action: "remove",
        path: path.to_path_buf(),
        source,
    };
    let Ok(entries) = fs::read_dir(path) else {
        return Ok(0);
    };
    let mut removed = 0;
    for entry in entries.flatten() {
        fs::remove_file(entry.path()).map_err(|source| failed(&entry.path(), source))?;
        removed += 1;
    }
    fs::remove_dir(path).map_err(|source| failed(path, source))?;
    Ok(removed)
}

/// The sets of maps that are pinned.
#[derive(Debug, Default)]
pub(super) struct Generations {
    /// The one in force and, after it, replacements that are not finished, all of them complete:
    /// programs may be counting in each.
    pub(super) live: Vec<Generation>,
    /// What nothing uses: done with, or not even complete.
    pub(super) leftover: Vec<Generation>,
}

/// Whether maps of a contract, which guards from `oldest` on can take over, mean to this version
/// what they say.
const fn is_readable(version: u32, oldest: u32) -> bool {
    if version <= CONTRACT {
        version >= OLDEST_CONTRACT
    } else {
        oldest <= CONTRACT
    }
}

impl Pins {
    /// The sets of maps, in the order in which they were made.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub(super) fn generations(&self) -> Result<Generations, KernelError> {
        let in_force = fs::read_link(self.dir().join(IN_FORCE))
            .ok()
            .and_then(|target| number(target.to_str()?));
        let mut all: Vec<Generation> = self
            .folders()?
            .into_iter()
            .filter_map(|name| number(&name).map(|number| self.generation(number)))
            .collect();
        all.sort_by_key(|generation| generation.number);
        let mut found = Generations::default();
        for generation in all {
            let counts = in_force.is_some_and(|number| generation.number >= number);
            if counts && generation.contract()?.is_some() {
                found.live.push(generation);
            } else {
                found.leftover.push(generation);
            }
        }
        Ok(found)
    }

    fn generation(&self, number: u32) -> Generation {
        Generation {
            dir: self.dir().join(format!("{PREFIX}{number}")),
            number,
        }
    }

    fn folders(&self) -> Result<Vec<String>, KernelError> {
        let entries = match fs::read_dir(self.dir()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(KernelError::File {
                    action: "read",
                    path: self.dir().to_path_buf(),
                    source,
                });
            }
        };
        Ok(entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }

    /// Makes a folder for another set of maps.
    pub(super) fn make_generation(
        &self,
        after: Option<&Generation>,
    ) -> Result<Generation, KernelError> {
        let generation = self.generation(after.map_or(0, |last| last.number) + 1);
        fs::create_dir(&generation.dir).map_err(|source| KernelError::File {
            action: "create",
            path: generation.dir.clone(),
            source,
        })?;
        Ok(generation)
    }

    /// Puts a set of maps in force, at once: whoever looks finds the old set or this one.
    pub(super) fn put_in_force(&self, generation: &Generation) -> Result<(), KernelError> {
        let (link, next) = (self.dir().join(IN_FORCE), self.dir().join(NEXT));
        let failed = |source| KernelError::File {
            action: "exchange",
            path: link.clone(),
            source,
        };
        let target = generation
            .dir
            .file_name()
            .unwrap_or(generation.dir.as_os_str());
        match fs::remove_file(&next) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        std::os::unix::fs::symlink(target, &next).map_err(failed)?;
        fs::rename(&next, &link).map_err(failed)
    }

    /// The sets of maps that count, if this version can read them: the one in force is the first.
    ///
    /// # Errors
    ///
    /// No guard is pinned, or one that this version cannot read.
    pub(super) fn readable(&self) -> Result<Vec<Generation>, KernelError> {
        self.check_contract()?;
        let live = self.generations()?.live;
        if live.is_empty() {
            return Err(KernelError::NotAttached {
                path: self.dir().to_path_buf(),
            });
        }
        Ok(live)
    }

    /// Fails if a guard is pinned that this version cannot take over.
    ///
    /// # Errors
    ///
    /// That, or a map cannot be read.
    pub fn check_contract(&self) -> Result<(), KernelError> {
        for generation in self.generations()?.live {
            if let Some((found, oldest)) = generation.contract()?
                && !is_readable(found, oldest)
            {
                return Err(KernelError::Contract {
                    path: self.dir().to_path_buf(),
                    found,
                    ours: CONTRACT,
                });
            }
        }
        Ok(())
    }

    /// Removes all pins and the folders; the kernel frees what nobody holds any more. How many
    /// links and maps there were.
    pub(super) fn remove(&self) -> Result<(usize, usize), KernelError> {
        let links = self.links()?;
        for name in &links {
            link::end(&self.link(name))?;
        }
        remove_folder(&self.dir().join("links"))?;
        let mut maps = 0;
        // The newest first: until the last one goes, those that count are found.
        let Generations { live, leftover } = self.generations()?;
        for generation in live.iter().rev().chain(&leftover) {
            maps = maps.max(generation.remove()?);
        }
        for name in [IN_FORCE, NEXT] {
            unpin(&self.dir().join(name))?;
        }
        if self.dir().exists() {
            fs::remove_dir(self.dir()).map_err(|source| KernelError::File {
                action: "remove",
                path: self.dir().to_path_buf(),
                source,
            })?;
        }
        Ok((links.len(), maps))
    }
}

/// The number in a folder's name.
fn number(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_make_a_set() {
        assert_eq!(number("maps-12"), Some(12));
        for name in ["maps", NEXT, "maps-", "links", "maps--1"] {
            assert_eq!(number(name), None, "{name}");
        }
    }

    #[test]
    fn a_newer_guard_says_who_can_take_it_over() {
        assert!(is_readable(CONTRACT, OLDEST_CONTRACT));
        assert!(is_readable(OLDEST_CONTRACT, OLDEST_CONTRACT));
        assert!(is_readable(CONTRACT + 1, CONTRACT));
        assert!(!is_readable(CONTRACT + 1, CONTRACT + 1));
        assert!(!is_readable(OLDEST_CONTRACT - 1, 0));
    }
}
