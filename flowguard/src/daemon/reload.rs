//! Taking over a changed configuration, as a whole or not at all.

use std::sync::PoisonError;

use jiff::Timestamp;

use super::{handle::RequestError, state::State, warnings::About};
use crate::{
    config::Config,
    control::api::Reloaded,
    identity::{cgroup, cgroup_watch::CgroupEvent},
    kernel::Identity,
    model::SourceName,
};

impl State {
    /// Reads the configuration again and puts it in force. After an error the old one holds.
    pub(super) fn reload(&mut self) -> Result<Reloaded, RequestError> {
        let bad = |reason: String| RequestError::BadConfig { reason };
        let new = self
            .config
            .load_again()
            .map_err(|error| bad(format!("{:#}", anyhow::Error::from(error))))?;
        // The one step that can fail comes first.
        let addresses = self.local_addresses(&new);
        self.put_in_force(&new, addresses)
            .map_err(|error| bad(format!("{:#}", anyhow::Error::from(error))))?;

        let needs_restart = self.config.needs_restart(&new);
        self.engine.set_policy(new.judgement.clone());
        *self
            .patterns
            .write()
            .unwrap_or_else(PoisonError::into_inner) = new.containers.clone();
        let config = new.origin.as_ref().map(|path| path.display().to_string());
        // Paths and sizes stay what they are until a restart.
        self.config = Config {
            paths: self.config.paths.clone(),
            kernel: crate::config::Kernel {
                events_per_source: new.kernel.events_per_source,
                unanswered_after: new.kernel.unanswered_after,
                ..self.config.kernel.clone()
            },
            ..new
        };
        self.config_loaded = Timestamp::now();
        self.exempt_all_or_not();
        self.look_users_up_again();
        self.read_mapping(true);
        self.groups.expire();
        self.look_at_all_devices();
        let adopted = self.adopt_cgroups();
        let what = adopted.err().map(|error| {
            format!(
                "containers cannot be told by the new patterns: {:#}",
                anyhow::Error::from(error)
            )
        });
        self.warn(About::Containers, what);
        tracing::info!(?needs_restart, "configuration loaded");
        Ok(Reloaded {
            config,
            needs_restart,
        })
    }

    /// Makes the registered cgroups those that exist and are containers by the patterns in force.
    pub(super) fn adopt_cgroups(&mut self) -> Result<(), cgroup::CgroupError> {
        let found = cgroup::cgroups(&self.host.cgroup_mount, &self.host.cgroup)?;
        let gone: Vec<u64> = self
            .kernel
            .registry
            .all_identities()
            .filter_map(|(identity, _)| match identity {
                Identity::Cgroup(id) => Some(id),
                _ => None,
            })
            // A cgroup named by hand is no container by any pattern, and stays while it exists.
            .filter(|id| {
                found
                    .iter()
                    .find(|cgroup| cgroup.id == *id)
                    .is_none_or(|cgroup| {
                        !self.is_container(&cgroup.path) && !self.is_named_by_hand(*id)
                    })
            })
            .collect();
        for id in gone {
            self.forget_cgroup(id);
        }
        for cgroup in found {
            if self.is_named_by_hand(cgroup.id) {
                self.cgroups.insert(cgroup.id, cgroup.path);
            } else {
                self.on_cgroup(CgroupEvent::Appeared {
                    path: cgroup.path,
                    id: cgroup.id,
                });
            }
        }
        Ok(())
    }

    /// Whether the cgroup leads to a source because of an operator's order that is in force.
    fn is_named_by_hand(&self, id: u64) -> bool {
        let registry = &self.kernel.registry;
        registry
            .lookup(Identity::Cgroup(id))
            .filter(|source| self.is_under_verdict(*source))
            .and_then(|source| registry.name(source))
            .is_some_and(SourceName::is_cgroup_path)
    }
}
