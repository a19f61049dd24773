//! Whose sources are: the table that is in force, and what it comes to.

use std::{collections::HashMap, sync::Arc};

use tokio::time::Instant;

use super::{
    lookup::{self, TableRead},
    state::State,
    warnings::About,
};
use crate::{
    identity::mapping::{Mapping, Tenant},
    kernel::Identity,
};

/// The table of tenants.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    table: Mapping,
    /// By source, as of this revision of the registry; none: to be found out.
    found: HashMap<u32, Arc<Tenant>>,
    found_at: Option<u64>,
    /// When the table is read again.
    due: Option<Instant>,
    /// Questions asked so far: only the answer to the last one counts.
    asked: u64,
}

impl Tenants {
    /// Whose a source is, as of the last time that was found out; none: the table does not say.
    pub(super) fn of(&self, source: u32) -> Option<&Tenant> {
        self.found.get(&source).map(AsRef::as_ref)
    }

    /// The hosting package of a source's owner.
    pub(super) fn package_of(&self, source: u32) -> Option<&str> {
        self.of(source)?.package.as_deref()
    }
}

impl State {
    /// Has the table read again if it is time, or at once.
    pub(super) fn read_mapping(&mut self, at_once: bool) {
        let now = Instant::now();
        let Some(origin) = self.config.mapping.origin.clone() else {
            if at_once {
                self.tenants = Tenants {
                    asked: self.tenants.asked + 1,
                    ..Tenants::default()
                };
                self.warn(About::Mapping, None);
                self.warn(About::MappingLines, None);
            }
            return;
        };
        if at_once || self.tenants.due.is_none_or(|due| due <= now) {
            self.tenants.due = Some(now + self.config.mapping.refresh);
            self.tenants.asked += 1;
            lookup::mapping(origin, self.tenants.asked, &self.lookups);
        }
    }

    /// The table was read, or not: then the last one holds.
    pub(super) fn on_mapping(&mut self, asked: u64, read: TableRead) {
        if asked != self.tenants.asked {
            return;
        }
        let failure = read.as_ref().err().map(|error| {
            let holds = match self.tenants.table.len() {
                0 => "no customers are known".to_owned(),
                lines => format!("the last table, of {lines} lines, holds"),
            };
            format!("the table of customers cannot be read, so {holds}: {error}")
        });
        self.warn(About::Mapping, failure);
        let Ok((table, left_out)) = read else {
            return;
        };
        let what = left_out.map(|(first, count)| {
            format!("{count} lines of the table of customers are left out: {first}")
        });
        self.warn(About::MappingLines, what);
        tracing::info!(lines = table.len(), "the table of customers is in force");
        self.tenants.table = table;
        self.tenants.found_at = None;
    }

    /// Finds out whose sources are, if anything has changed since that was done.
    pub(super) fn find_tenants(&mut self) {
        let revision = self.kernel.registry.revision();
        if self.tenants.found_at == Some(revision) {
            return;
        }
        let mut found = HashMap::new();
        if !self.tenants.table.is_empty() {
            let registry = &self.kernel.registry;
            let mut uids: HashMap<u32, Vec<u32>> = HashMap::new();
            let mut cgroups: HashMap<u32, Vec<&str>> = HashMap::new();
            for (identity, source) in registry.all_identities() {
                match identity {
                    Identity::Uid(uid) => uids.entry(source).or_default().push(uid),
                    Identity::Cgroup(id) => {
                        let path = self.cgroups.get(&id).map(String::as_str);
                        cgroups.entry(source).or_default().extend(path);
                    }
                    Identity::Netns(_) | Identity::Edge(_) | Identity::Addr(_) => {}
                }
            }
            for (id, name) in registry.sources() {
                let uids = uids.remove(&id).unwrap_or_default();
                let cgroups = cgroups.remove(&id).unwrap_or_default();
                if let Some(tenant) = self.tenants.table.tenant(name, uids, &cgroups) {
                    found.insert(id, tenant.clone());
                }
            }
        }
        self.tenants.found = found;
        self.tenants.found_at = Some(revision);
    }
}
