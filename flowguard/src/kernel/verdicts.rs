//! The verdict map.

use aya::maps::{HashMap, MapData, MapError};
use flowguard_common::{
    class::Class,
    names::MAP_VERDICTS,
    verdict::{Verdict, VerdictKey},
};

use super::{KernelError, Pins};

/// Verdicts in the kernel, by source and class.
#[derive(Debug)]
pub struct Verdicts(HashMap<MapData, VerdictKey, Verdict>);

impl Verdicts {
    /// Opens the pinned map.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub fn open(pins: &Pins) -> Result<Self, KernelError> {
        pins.open(MAP_VERDICTS).map(Self)
    }

    /// Installs a verdict, replacing the one there is as a whole.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn set(&mut self, source: u32, class: Class, verdict: &Verdict) -> Result<(), KernelError> {
        let key = VerdictKey {
            source,
            class: class as u32,
        };
        self.0
            .insert(key, verdict, 0)
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
