//! Answers to questions.

use std::collections::BTreeMap;

use flowguard_common::counters::Stat;
use tokio::sync::oneshot;

use super::{handle::RequestError, sending, state::State, verdicts::InForce};
use crate::{
    control::api::{Source, SourceDetail, Status, VerdictRecord},
    kernel::{
        Identity, KernelError,
        offline::{self, Account, Accounts},
    },
    model::{ClassName, SourceName, SourceRef, Totals},
    store::StoreError,
};

/// Past verdicts shown with a source.
const PAST_VERDICTS: u32 = 20;

type PastVerdicts = oneshot::Receiver<Result<Vec<VerdictRecord>, StoreError>>;

/// Everything about a source but its past verdicts, which the database is being asked for.
pub(super) struct Pending {
    detail: SourceDetail,
    past: PastVerdicts,
    /// What to say if there is nothing on record either.
    unknown: Option<RequestError>,
}

impl Pending {
    /// Waits for the database.
    pub(super) async fn finish(self) -> Result<SourceDetail, RequestError> {
        let Self {
            mut detail,
            past,
            unknown,
        } = self;
        let mut verdicts = match past.await {
            Ok(Ok(past)) => past,
            Ok(Err(error)) => {
                tracing::error!(%error, "past verdicts cannot be shown");
                Vec::new()
            }
            // The queue is full, which `status` tells.
            Err(_) => Vec::new(),
        };
        match unknown {
            Some(unknown) if verdicts.is_empty() => return Err(unknown),
            _ => {}
        }
        for held in detail.verdicts.drain(..).rev() {
            match verdicts
                .iter_mut()
                .find(|known| known.record == held.record)
            {
                Some(known) => *known = held,
                None => verdicts.insert(0, held),
            }
        }
        Ok(SourceDetail { verdicts, ..detail })
    }
}

impl State {
    /// Everything counted, by who it belongs to.
    pub(super) fn accounts(&self) -> Result<Accounts, KernelError> {
        let kernel = &self.kernel;
        Accounts::read(&kernel.registry, &kernel.counters, &kernel.fallback)
    }

    /// How the guard is.
    pub(super) fn status(&self) -> Result<Status, RequestError> {
        let accounts = self.accounts()?;
        let mut totals: BTreeMap<ClassName, Totals> = BTreeMap::new();
        for account in accounts
            .registered
            .values()
            .chain(accounts.unregistered.values())
        {
            for (class, counters) in account {
                *totals.entry(*class).or_default() += (*counters).into();
            }
        }
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started,
            mode: self.config.mode,
            config: self
                .config
                .origin
                .as_ref()
                .map(|path| path.display().to_string()),
            config_loaded: self.config_loaded,
            pins: self.config.paths.pins.display().to_string(),
            hooks: self.kernel.hooks.names(),
            adopted: self.adopted,
            sources: self.kernel.registry.sources().count() as u64,
            source_capacity: self.kernel.registry.capacity().into(),
            verdicts: self.verdicts.len() as u64,
            smarthosts: self
                .config
                .guard
                .smarthosts
                .iter()
                .map(ToString::to_string)
                .collect(),
            totals,
            kernel: Stat::ALL
                .iter()
                .map(|stat| (stat.name().to_owned(), self.kernel.counters.stat(*stat)))
                .collect(),
            events_received: self.events_received,
            processes: [
                ("seen", self.processes.seen),
                ("gone", self.processes.gone),
                ("missed", self.processes.missed),
            ]
            .map(|(what, count)| (what.to_owned(), count))
            .into(),
            tables: self
                .tables(accounts.fallback_entries)
                .into_iter()
                .map(|(table, usage)| (table.name().to_owned(), usage))
                .chain([("trusted".to_owned(), self.trusted_use())])
                .collect(),
            decided: self.tally.decided(),
            sending: sending::told(self.engine.risks()),
            warnings: self.warnings.values().cloned().collect(),
        })
    }

    /// All sources, registered or not, in order.
    pub(super) fn sources(&self) -> Result<Vec<Source>, RequestError> {
        let accounts = self.accounts()?;
        let now = self.now();
        let mut sources: Vec<Source> = accounts
            .registered
            .iter()
            .filter_map(|(id, account)| self.summary(*id, account))
            .collect();
        sources.extend(accounts.unregistered.iter().map(|(identity, account)| {
            offline::summary(&offline::provisional_name(*identity), None, account, &now)
        }));
        sources.sort_by(|a, b| a.source.cmp(&b.source));
        Ok(sources)
    }

    fn summary(&self, id: u32, account: &Account) -> Option<Source> {
        let name = self.kernel.registry.name(id)?;
        let mut source = offline::summary(name, Some(id), account, &self.now());
        source.exempt = self.config.exempt(name).map(ToOwned::to_owned);
        source.tenant = self.tenants.of(id).cloned();
        source.verdict = offline::gravest(
            self.verdicts
                .iter()
                .filter(|((of, _), _)| *of == id)
                .map(|(_, verdict)| verdict.record.action),
        );
        Some(source)
    }

    /// Everything about one source, but for what has to be read from the database.
    pub(super) fn show(&self, source: &SourceRef) -> Result<Pending, RequestError> {
        let id = match self.known_source(source) {
            Ok(id) => id,
            Err(error) => return Ok(self.show_past(source, error)),
        };
        let accounts = self.accounts()?;
        let account = accounts.registered.get(&id).cloned().unwrap_or_default();
        let summary = self
            .summary(id, &account)
            .ok_or_else(|| RequestError::NoSuchSource {
                source_ref: source.clone(),
            })?;
        // Those in force are in memory even when the database is not there.
        let held = self.verdicts.iter().filter(|((of, _), _)| *of == id);
        let held = held.map(|(_, InForce { record, .. })| record.clone());
        let identities = self.kernel.registry.identities(id);
        Ok(Pending {
            past: self.past_verdicts(summary.source.clone()),
            detail: SourceDetail {
                summary,
                identities: identities
                    .into_iter()
                    .map(|identity| self.describe(identity))
                    .collect(),
                containers: self.containers_of(id).collect(),
                verdicts: held.collect(),
                events: self.evidence.of(id, None),
                replies: self.evidence.replies_of(id, None),
            },
            unknown: None,
        })
    }

    fn past_verdicts(&self, source: String) -> PastVerdicts {
        self.store
            .ask(move |store| store.of_source(&source, PAST_VERDICTS))
    }

    /// What is on record of a source that nobody has heard of since the last reboot or detach.
    fn show_past(&self, source: &SourceRef, unknown: RequestError) -> Pending {
        let name = match source {
            SourceRef::User(name) => SourceName::user(name.as_str()),
            SourceRef::Container(name) | SourceRef::Cgroup(name) => {
                SourceName::container(name.as_str())
            }
            SourceRef::Iface(name) => SourceName::iface(name.as_str()),
            SourceRef::Addr(net) => SourceName::addr(self.prefix_meant(*net).unwrap_or(*net)),
        };
        Pending {
            past: self.past_verdicts(offline::full_name(&name)),
            detail: SourceDetail {
                summary: offline::summary(&name, None, &Account::new(), &self.now()),
                identities: Vec::new(),
                containers: Vec::new(),
                verdicts: Vec::new(),
                events: Vec::new(),
                replies: Vec::new(),
            },
            unknown: Some(unknown),
        }
    }

    fn describe(&self, identity: Identity) -> String {
        match identity {
            Identity::Cgroup(id) => match self.cgroups.get(&id) {
                Some(path) => format!("{identity} {path}"),
                None => identity.to_string(),
            },
            Identity::Edge(ifindex) => match self.kernel.hooks.devices().get(&ifindex) {
                Some(device) => format!("edge {}", device.name),
                None => identity.to_string(),
            },
            Identity::Uid(_) | Identity::Netns(_) | Identity::Addr(_) => identity.to_string(),
        }
    }
}
