//! Ids of sources that never were anybody's.
//!
//! A device is attached as its interface's own before it is known who is behind it, and engines
//! invent a name for each device they make. So that these names do not fill the registry, an id
//! that was never used is given to the next source.

use std::time::{Duration, Instant};

use flowguard_common::{class::Class, counters::ClassCounters, source::Kind};

use super::state::State;
use crate::{kernel::KernelError, model::SourceName};

/// How long an id must have been vacant: longer than any program runs that looked it up before.
const QUARANTINE: Duration = Duration::from_secs(1);

/// Ids that may be given to somebody else, and since when.
pub(super) type Vacancies = Vec<(u32, Instant)>;

impl State {
    /// Nothing leads to this interface any more; its id is free if it was never used.
    pub(super) fn vacate(&mut self, source: u32) {
        if self.is_vacant(source) && !self.vacancies.iter().any(|(id, _)| *id == source) {
            self.vacancies.push((source, Instant::now()));
        }
    }

    /// Those that an earlier daemon left.
    pub(super) fn find_vacancies(&mut self) {
        let ids: Vec<u32> = self.kernel.registry.sources().map(|(id, _)| id).collect();
        for id in ids {
            self.vacate(id);
        }
    }

    /// Registers a new source under an id that is vacant, or under a new one.
    pub(super) fn new_source(&mut self, name: &SourceName) -> Result<u32, KernelError> {
        let now = Instant::now();
        let ripe = |since: Instant| now.duration_since(since) >= QUARANTINE;
        while let Some(at) = self.vacancies.iter().position(|(_, since)| ripe(*since)) {
            let (id, _) = self.vacancies.swap_remove(at);
            if self.is_vacant(id) {
                self.kernel.registry.rename(id, name)?;
                return Ok(id);
            }
        }
        self.kernel.registry.register(name)
    }

    fn is_vacant(&self, source: u32) -> bool {
        let kernel = &self.kernel;
        let is_iface = kernel
            .registry
            .name(source)
            .is_some_and(|name| name.kind == Kind::Iface);
        is_iface
            && !self.is_under_verdict(source)
            && Class::ALL
                .iter()
                .all(|class| kernel.counters.read(source, *class) == ClassCounters::default())
            && !kernel.registry.all_identities().any(|(_, of)| of == source)
    }
}
