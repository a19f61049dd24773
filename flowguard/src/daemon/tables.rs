//! Tables of the kernel that are full: counted, announced, and nobody is hurt.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use flowguard_common::{counters::Stat, flow::FLOWS_PER_DEVICE};

use super::{
    state::{State, TRUSTED_ROOM},
    warnings::About,
};
use crate::{
    control::api::TableUse,
    kernel::{Identity, KernelError, Table},
};

/// How often somebody found no room, by table, since this daemon started.
pub(super) type Refusals = BTreeMap<Table, u64>;

impl State {
    /// Counts that there was no room.
    pub(super) fn refuse(&mut self, table: Table) {
        *self.refusals.entry(table).or_default() += 1;
    }

    /// Counts it if that is what is wrong.
    pub(super) fn count_refusal<T>(&mut self, done: &Result<T, KernelError>) {
        if let Err(KernelError::Full(full)) = done {
            self.refuse(full.table);
        }
    }

    /// Whether there is room for one identity more, or it has its place already. Counts if not.
    pub(super) fn finds_room(&mut self, identity: Identity) -> bool {
        let fits = self.kernel.registry.has_room_for(identity);
        if !fits {
            self.refuse(Table::of(identity));
        }
        fits
    }

    /// Whether one source more can be registered.
    pub(super) fn has_room_for_source(&self) -> bool {
        let registry = &self.kernel.registry;
        (registry.sources().len() as u64) < u64::from(registry.capacity())
            || !self.vacancies.is_empty()
    }

    /// How full the tables are.
    /// `fallback_entries` is what [`crate::kernel::offline::Accounts`] found.
    pub(super) fn tables(&self, fallback_entries: u64) -> BTreeMap<Table, TableUse> {
        let registry = &self.kernel.registry;
        let identities = [
            Table::Uids,
            Table::Cgroups,
            Table::Namespaces,
            Table::Edges,
            Table::Addresses,
        ]
        .map(|table| {
            let (used, capacity) = registry.used(table);
            (table, used, capacity)
        });
        let sources = registry.sources().len() - self.vacancies.len();
        identities
            .into_iter()
            .chain([
                (
                    Table::Sources,
                    sources as u64,
                    u64::from(registry.capacity()),
                ),
                (
                    Table::Unregistered,
                    fallback_entries,
                    self.kernel.fallback.capacity(),
                ),
            ])
            .map(|(table, used, capacity)| {
                let refused = self.refusals.get(&table).copied().unwrap_or(0);
                let usage = TableUse {
                    used,
                    capacity,
                    refused,
                };
                (table, usage)
            })
            .collect()
    }

    /// How full the table of trusted destinations is.
    pub(super) fn trusted_use(&self) -> TableUse {
        let guard = &self.config.guard;
        let used = guard.trusted.len() + guard.smarthosts.len() + self.addresses.trusted;
        TableUse {
            used: used as u64,
            capacity: TRUSTED_ROOM as u64,
            refused: self.addresses.left_out as u64,
        }
    }

    /// Says which tables are full, and which no more.
    pub(super) fn warn_full_tables(&mut self, fallback_entries: u64) {
        for (table, TableUse { used, capacity, .. }) in self.tables(fallback_entries) {
            let what = (used >= capacity).then(|| table.full(capacity).to_string());
            self.warn(About::Table(table), what);
        }
        self.warn_forgotten();
    }

    /// Says that outcomes were lost, for some time after the last one.
    fn warn_forgotten(&mut self) {
        let now = Instant::now();
        let count = self.kernel.counters.stat(Stat::FlowForgotten);
        let (seen, since) = self.forgotten.unwrap_or((count, None));
        let since = if count > seen { Some(now) } else { since };
        self.forgotten = Some((count, since));
        let lately = since.is_some_and(|since| now < since + FORGOTTEN_LATELY);
        let what = lately.then(|| {
            format!(
                "devices had more connections under way than the {FLOWS_PER_DEVICE} that are \
                 remembered of each: what came of {count} is not known. They were counted, and \
                 verdicts hold; only `established`, `refused` and `timed_out` are too low for who \
                 sent them"
            )
        });
        self.warn(About::Flows, what);
    }
}

/// How long after the last outcome that was lost operators are told of it.
const FORGOTTEN_LATELY: Duration = Duration::from_mins(10);
