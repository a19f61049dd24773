//! Containers and their names: what is in a cgroup's path, and what the engine says.
//!
//! A container is registered when its name is known, or when nobody could tell it in time; then it
//! goes by its id until somebody does.

use std::{collections::HashMap, sync::PoisonError, time::Duration};

use flowguard_common::class::Class;
use tokio::time::Instant;

use super::{lookup, state::State, warnings::About};
use crate::{
    config::Engine,
    control::api::ContainerInfo,
    identity::{
        self, cgroup,
        names::{Container, NameError},
    },
    kernel::{Identity, KernelError, offline::full_name},
    model::SourceName,
};

/// Who could not be named is asked about again so much later.
const AGAIN: Duration = Duration::from_secs(10);

/// Containers by the paths of their cgroups.
pub(super) type Containers = HashMap<String, Named>;

/// A cgroup that is a container.
#[derive(Debug)]
pub(super) struct Named {
    engine: Engine,
    /// What stands in the path: an id or a name.
    id: String,
    /// What it goes by until somebody tells better.
    provisional: String,
    /// The cgroup's id.
    cgroup: u64,
    knowledge: Knowledge,
}

#[derive(Debug)]
enum Knowledge {
    /// The answer is on its way.
    Asked,
    /// This is it.
    Told(Container),
    /// Nobody knew; when to ask again, if that is worth it.
    Untold(Option<Instant>),
}

impl Named {
    /// What it is called; none: not known yet.
    fn name(&self) -> Option<&str> {
        match &self.knowledge {
            Knowledge::Asked => None,
            Knowledge::Told(container) => Some(&container.name),
            Knowledge::Untold(_) => Some(&self.provisional),
        }
    }

    /// What its engine says of it.
    fn container(&self) -> Option<&Container> {
        match &self.knowledge {
            Knowledge::Told(container) => Some(container),
            Knowledge::Asked | Knowledge::Untold(_) => None,
        }
    }
}

/// An answer about a container's name.
pub(super) type Answer = Result<Option<Container>, NameError>;

impl State {
    /// Whether the cgroup at this path is a container.
    pub(super) fn is_container(&self, path: &str) -> bool {
        let patterns = self.patterns.read().unwrap_or_else(PoisonError::into_inner);
        patterns.matches(path).is_some()
    }

    /// The name of the container that the cgroup at this path is; none if it is no container, or its
    /// name is not known yet.
    pub(super) fn container_of(&self, path: &str) -> Option<String> {
        self.containers.get(path)?.name().map(ToOwned::to_owned)
    }

    /// The cgroup of the container whose id begins like this.
    pub(super) fn cgroup_of_container(&self, id: &str) -> Option<u64> {
        let begins_so = |named: &&Named| named.id.starts_with(id);
        let mut found = self.containers.values().filter(begins_so);
        let first = found.next()?;
        // Of several, none was meant.
        found.next().is_none().then_some(first.cgroup)
    }

    /// What engines say of the containers that lead to a source.
    pub(super) fn containers_of(&self, source: u32) -> impl Iterator<Item = ContainerInfo> {
        let registry = &self.kernel.registry;
        let leads =
            move |named: &&Named| registry.lookup(Identity::Cgroup(named.cgroup)) == Some(source);
        let known = self.containers.values().filter(leads);
        known.filter_map(|named| {
            Some(ContainerInfo {
                engine: named.engine.name.clone(),
                id: named.id.clone(),
                container: named.container()?.clone(),
            })
        })
    }

    /// Notes the containers that these cgroups are, or are in: a process of one may have been found
    /// before the watch on cgroups told of it.
    pub(super) fn note_containers_around(&mut self, cgroups: &[String]) {
        for path in cgroups {
            let around = identity::ancestors(path).find(|path| self.is_container(path));
            let Some(path) = around.filter(|path| !self.containers.contains_key(*path)) else {
                continue;
            };
            let directory = cgroup::directory(&self.host.cgroup_mount, path);
            // It may be gone.
            if let Ok(id) = cgroup::cgroup_id(&directory) {
                self.note_container(path, id);
            }
        }
    }

    /// Notes that a cgroup exists, if it is a container, and has its name asked for.
    pub(super) fn note_container(&mut self, path: &str, cgroup: u64) {
        let patterns = self.patterns.read().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = patterns.matches(path) else {
            return;
        };
        let known = self
            .containers
            .remove(path)
            .filter(|known| known.cgroup == cgroup);
        let unchanged = known
            .as_ref()
            .is_some_and(|known| known.engine == *found.engine);
        let knowledge = match known {
            // Until there is a new answer the old one holds.
            Some(known) => known.knowledge,
            None if found.engine.tellers.is_empty() => Knowledge::Untold(None),
            None => Knowledge::Asked,
        };
        let named = Named {
            engine: found.engine.clone(),
            provisional: found.display_name(),
            id: found.id,
            cgroup,
            knowledge,
        };
        drop(patterns);
        if !unchanged && !named.engine.tellers.is_empty() {
            self.ask_name(path, &named);
        }
        self.cgroups.insert(cgroup, path.to_owned());
        let has_name = named.name().is_some();
        self.containers.insert(path.to_owned(), named);
        if has_name {
            self.on_named(path);
        }
    }

    fn ask_name(&self, path: &str, named: &Named) {
        let (path, id) = (path.to_owned(), named.id.clone());
        let tellers = named.engine.tellers.clone();
        let limit = self.config.names.timeout;
        lookup::container_name(path, id, tellers, limit, &self.lookups);
    }

    /// Somebody answered what a container is called.
    pub(super) fn on_container_name(&mut self, path: &str, answer: Answer) {
        let what = answer.as_ref().err().map(|error| {
            format!(
                "containers go by their ids, since their engine does not tell their names: {error}"
            )
        });
        self.warn(About::Names, what);
        // It may be gone.
        let Some(named) = self.containers.get_mut(path) else {
            return;
        };
        let before = named.name().map(ToOwned::to_owned);
        named.knowledge = match answer {
            Ok(Some(container)) => Knowledge::Told(container),
            Ok(None) | Err(_) => Knowledge::Untold(Some(Instant::now() + AGAIN)),
        };
        if before.as_deref() != named.name() {
            self.on_named(path);
        }
    }

    /// A container has a name, or another one than before.
    fn on_named(&mut self, path: &str) {
        let Some(named) = self.containers.get(path) else {
            return;
        };
        let Some(name) = named.name().map(SourceName::container) else {
            return;
        };
        let provisional = SourceName::container(named.provisional.as_str());
        let cgroup = named.cgroup;
        if let Err(error) = self.hand_over(&provisional, &name) {
            tracing::error!(source = %name, %error, "cannot take over what its id was known for");
        }
        self.register_identity(Identity::Cgroup(cgroup), &name);
        self.settle_devices();
    }

    /// Whoever was known by its id gets its name: with all that it has if nobody of that name is
    /// known yet, else with the verdicts that hold, and all that leads to it.
    fn hand_over(&mut self, from: &SourceName, to: &SourceName) -> Result<(), KernelError> {
        let Some(old) = self.kernel.registry.id(from).filter(|_| from != to) else {
            return Ok(());
        };
        let known = self.kernel.registry.id(to);
        if known.is_none() {
            self.kernel.registry.rename(old, to)?;
        }
        let new = known.unwrap_or(old);
        for class in Class::ALL {
            let Some(mut verdict) = self.verdicts.remove(&(old, class)) else {
                continue;
            };
            verdict.record.source = full_name(to);
            self.store.update(&verdict.record);
            if new == old {
                self.verdicts.insert((old, class), verdict);
                continue;
            }
            self.kernel.verdicts.lift(old, class)?;
            // The one on the name is the newer one, of a container that was started since.
            if !self.verdicts.contains_key(&(new, class)) {
                self.reinstate(&verdict.record, &self.now())?;
            }
        }
        self.exempt_or_not(old);
        if new != old {
            self.lead_elsewhere(old, new)?;
        }
        Ok(())
    }

    /// Makes all that leads to one source lead to another.
    fn lead_elsewhere(&mut self, from: u32, to: u32) -> Result<(), KernelError> {
        for identity in self.kernel.registry.identities(from) {
            match identity {
                Identity::Edge(ifindex) => self.look_at(vec![ifindex]),
                _ => self.kernel.registry.lead(identity, to)?,
            }
        }
        Ok(())
    }

    /// Asks again about those that nobody could name.
    pub(super) fn ask_names_again(&mut self) {
        let now = Instant::now();
        let mut due_now = Vec::new();
        for (path, named) in &mut self.containers {
            if let Knowledge::Untold(Some(due)) = &mut named.knowledge
                && *due <= now
            {
                *due = now + AGAIN;
                due_now.push(path.clone());
            }
        }
        for path in due_now {
            if let Some(named) = self.containers.get(&path) {
                self.ask_name(&path, named);
            }
        }
    }

    /// A container is no more.
    pub(super) fn forget_container(&mut self, cgroup: u64) {
        self.containers.retain(|_, named| named.cgroup != cgroup);
    }
}
