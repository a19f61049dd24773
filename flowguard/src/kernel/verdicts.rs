//! The verdict map.

use aya::maps::{HashMap, MapData, MapError};
use flowguard_common::{
    class::Class,
    names::MAP_VERDICTS,
    verdict::{Rate, Verdict, VerdictKey},
};

use super::{KernelError, generation::Generation};

/// What a verdict says, whoever it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// `ACTION_*`.
    pub action: u32,
    /// `VERDICT_*` bits.
    pub flags: u32,
    /// `CLOCK_BOOTTIME` of its end, nanoseconds; 0: none.
    pub expires_ns: u64,
    /// Limit of `ACTION_LIMIT`.
    pub rate: Rate,
    /// Number of the record that explains it.
    pub record: u64,
}

impl Terms {
    fn of(self, key: VerdictKey) -> Verdict {
        let Self {
            action,
            flags,
            expires_ns,
            rate,
            record,
        } = self;
        Verdict {
            action,
            flags,
            expires_ns,
            rate,
            record,
            key,
        }
    }
}

/// Verdicts in the kernel, by source and class.
#[derive(Debug)]
pub struct Verdicts(HashMap<MapData, VerdictKey, Verdict>);

impl Verdicts {
    /// Opens the map.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub(super) fn open(maps: &Generation) -> Result<Self, KernelError> {
        maps.open(MAP_VERDICTS).map(Self)
    }

    /// Installs a verdict, replacing the one there is as a whole.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn set(&mut self, source: u32, class: Class, terms: &Terms) -> Result<(), KernelError> {
        let key = VerdictKey {
            source,
            class: class as u32,
        };
        self.0
            .insert(key, terms.of(key), 0)
            .map_err(KernelError::map(MAP_VERDICTS))
    }

    /// Lifts a verdict; none there is well.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn lift(&mut self, source: u32, class: Class) -> Result<(), KernelError> {
        match self.0.remove(&VerdictKey {
            source,
            class: class as u32,
        }) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            Err(error) => Err(KernelError::map(MAP_VERDICTS)(error)),
        }
    }

    /// All verdicts, expired ones included.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn read(&self) -> Result<Vec<(u32, Class, Verdict)>, KernelError> {
        let mut verdicts = Vec::new();
        for entry in self.0.iter() {
            let (key, verdict) = entry.map_err(KernelError::map(MAP_VERDICTS))?;
            let class = u8::try_from(key.class).ok().and_then(Class::from_u8);
            if let Some(class) = class {
                verdicts.push((key.source, class, verdict));
            }
        }
        Ok(verdicts)
    }
}
