//! The pinned maps of a guard, for a test that takes the place of its dead daemon: it makes the
//! verdicts and the policy, and takes the events in. And its pinned links.

use std::fs;

use anyhow::{Context as _, Result, bail};
use aya::{
    maps::{Array, HashMap, Map, MapData, RingBuf},
    programs::links::PinnedLink,
};
use flowguard_common::{
    event::Event,
    names::{MAP_BANK, MAP_EVENTS, MAP_SETTINGS, MAP_VERDICTS},
    settings::Settings,
    verdict::{Verdict, VerdictKey},
};

use crate::lab::Lab;

/// The maps.
pub struct Pinned {
    bank: Array<MapData, u32>,
    settings: Array<MapData, Settings>,
    verdicts: HashMap<MapData, VerdictKey, Verdict>,
    events: RingBuf<MapData>,
}

impl Pinned {
    /// Those of the guard that is pinned in a lab.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(lab: &Lab) -> Result<Self> {
        let open = |name| -> Result<MapData> {
            MapData::from_pin(lab.pins().join("maps").join(name)).context(name)
        };
        Ok(Self {
            bank: Map::Array(open(MAP_BANK)?).try_into()?,
            settings: Map::Array(open(MAP_SETTINGS)?).try_into()?,
            verdicts: Map::HashMap(open(MAP_VERDICTS)?).try_into()?,
            events: Map::RingBuf(open(MAP_EVENTS)?).try_into()?,
        })
    }

    /// The policy numbers in force.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn settings(&self) -> Result<Settings> {
        Ok(self.settings.get(&self.bank()?, 0)?)
    }

    /// Changes the policy numbers in force, while nobody connects.
    ///
    /// # Errors
    /// When the maps cannot be written.
    pub fn configure(&mut self, change: impl FnOnce(&mut Settings)) -> Result<()> {
        let (bank, mut settings) = (self.bank()?, self.settings()?);
        change(&mut settings);
        Ok(self.settings.set(bank, settings, 0)?)
    }

    fn bank(&self) -> Result<u32> {
        Ok(self.bank.get(&0, 0)? & 1)
    }

    /// Puts a verdict in force, or lifts the one there is.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn judge(&mut self, key: VerdictKey, verdict: Option<Verdict>) -> Result<()> {
        match verdict {
            Some(verdict) => self.verdicts.insert(key, verdict, 0)?,
            None if self.verdicts.get(&key, 0).is_ok() => self.verdicts.remove(&key)?,
            None => {}
        }
        Ok(())
    }

    /// The events since last asked.
    ///
    /// # Errors
    /// When the ring holds something else.
    pub fn events(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        while let Some(item) = self.events.next() {
            if item.len() != size_of::<Event>() {
                bail!("an event of {} bytes", item.len());
            }
            // SAFETY: as many bytes as the type has, and every bit pattern is a value of it.
            events.push(unsafe { item.as_ptr().cast::<Event>().read_unaligned() });
        }
        Ok(events)
    }
}

/// Opens all links of the guard that is pinned in a lab, as somebody does who lists them.
///
/// # Errors
/// When there are none.
pub fn links(lab: &Lab) -> Result<Vec<PinnedLink>> {
    let folder = lab.pins().join("links");
    fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| {
            let path = entry?.path();
            PinnedLink::from_pin(&path).with_context(|| path.display().to_string())
        })
        .collect()
}
