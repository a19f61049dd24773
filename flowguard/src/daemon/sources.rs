//! Registering sources: from an identity the kernel saw to a tenant with a name.

use std::collections::BTreeSet;

use flowguard_common::{
    class::Class,
    source::Kind,
    verdict::{ACTION_ALLOW, Rate, VERDICT_EXEMPT},
};

use super::{lookup, processes::Seen, state::State, warnings::About};
use crate::{
    identity::{
        cgroup_watch::CgroupEvent,
        users::{LookupError, SubordinateRange},
    },
    kernel::{Identity, KernelError, Table, Terms, offline},
    model::SourceName,
};

impl State {
    /// The id of a source, registering it with its exemption if it is new.
    pub(super) fn register(&mut self, name: &SourceName) -> Result<u32, KernelError> {
        if let Some(id) = self.kernel.registry.id(name) {
            return Ok(id);
        }
        let registered = self.new_source(name);
        self.count_refusal(&registered);
        let id = registered?;
        self.exempt_or_not(id);
        self.ask_groups(name);
        Ok(id)
    }

    /// Registers a source and makes an identity lead to it.
    pub(super) fn register_identity(&mut self, identity: Identity, name: &SourceName) {
        if !self.finds_room(identity) {
            return;
        }
        let done = self
            .register(name)
            .and_then(|id| self.kernel.registry.lead(identity, id));
        match done {
            // That it is full is said once, by a warning.
            Ok(()) | Err(KernelError::Full(_)) => {}
            Err(error) => {
                tracing::error!(source = %name, %identity, %error, "cannot register");
            }
        }
        self.keep_waiting_events();
    }

    /// Gives a source the `allow` of an exemption, or takes it away, as the configuration says.
    pub(super) fn exempt_or_not(&mut self, id: u32) {
        let Some(name) = self.kernel.registry.name(id) else {
            return;
        };
        let exempt = self.config.exempt(name).is_some();
        for class in Class::ALL {
            // A verdict goes before an exemption, unless it is a rule's: rules do not concern an
            // exempt source.
            if let Some(verdict) = self.verdicts.get(&(id, class)) {
                if exempt && verdict.is_by_policy() {
                    self.end_for_exemption(id, class);
                } else {
                    continue;
                }
            }
            let done = if exempt {
                self.kernel.verdicts.set(id, class, &EXEMPTION)
            } else if self.exempted.contains(&id) {
                self.kernel.verdicts.lift(id, class)
            } else {
                Ok(())
            };
            if let Err(error) = done {
                tracing::error!(source = id, %error, "cannot change an exemption");
            }
        }
        if exempt {
            self.exempted.insert(id);
        } else {
            self.exempted.remove(&id);
        }
    }

    /// After a change of the configuration.
    pub(super) fn exempt_all_or_not(&mut self) {
        let ids: Vec<u32> = self.kernel.registry.sources().map(|(id, _)| id).collect();
        for id in ids {
            self.exempt_or_not(id);
        }
    }

    /// An identity made an attempt and is not registered. Each user is asked about once at a
    /// time, so that a slow name service is not flooded. False: there is no room for it.
    pub(super) fn on_newcomer(&mut self, identity: Identity) -> bool {
        // Without room nothing would come of it.
        if !self.has_room_for_source() {
            self.refuse(Table::Sources);
            return false;
        }
        if !self.finds_room(identity) {
            return false;
        }
        if let Identity::Uid(uid) = identity
            && self.asked.len() < LOOKUPS_AT_ONCE
            && self.asked.insert(uid)
        {
            lookup::user(uid, &self.lookups);
        }
        // An address is its own name.
        if matches!(identity, Identity::Addr(_)) {
            self.register_identity(identity, &offline::provisional_name(identity));
        }
        true
    }

    /// Keeps evidence for somebody who is about to get a name, within limits: whoever gets none
    /// must not fill our memory.
    pub(super) fn keep_waiting(&mut self, identity: Identity, seen: Seen) {
        if self.waiting.len() >= WAITING && !self.waiting.contains_key(&identity) {
            return;
        }
        let events = self.waiting.entry(identity).or_default();
        if events.len() < WAITING_EVENTS {
            events.push(seen);
        }
    }

    /// Makes the identities of a source known that it has without having been active.
    pub(super) fn find_identity_of(&self, name: &SourceName) {
        if name.kind == Kind::User {
            lookup::uid(name.name.clone(), &self.lookups);
        }
    }

    /// Registers who is found in the fallback. A namespace waits for a tick, since a device that
    /// just appeared may be about to claim it.
    pub(super) fn register_newcomers(&mut self, unregistered: impl Iterator<Item = Identity>) {
        let found: BTreeSet<Identity> = unregistered.collect();
        for identity in &found {
            match identity {
                Identity::Uid(_) | Identity::Addr(_) => {
                    self.on_newcomer(*identity);
                }
                Identity::Netns(_) if self.newcomers.contains(identity) => {
                    self.register_identity(*identity, &offline::provisional_name(*identity));
                }
                Identity::Netns(_) | Identity::Cgroup(_) | Identity::Edge(_) => {}
            }
        }
        self.newcomers = found;
        self.keep_waiting_events();
    }

    /// The name service answered. While it fails, users stay unregistered: counted, and asked
    /// about again at the next tick.
    pub(super) fn on_user(&mut self, uid: u32, name: Result<Option<String>, LookupError>) {
        self.asked.remove(&uid);
        let failure = name.as_ref().err().map(|error| {
            format!(
                "users that the name service does not tell are counted but not judged until it \
                 answers: {error}"
            )
        });
        self.warn(About::Users, failure);
        let identity = Identity::Uid(uid);
        let Ok(name) = name else {
            return;
        };
        let before = self.kernel.registry.lookup(identity);
        match (before, name) {
            (None, name) => {
                let name = SourceName::user(name.unwrap_or_else(|| format!("#{uid}")));
                self.register_identity(identity, &name);
            }
            // The uid has passed to somebody else, who is not to inherit anything.
            (Some(source), Some(name)) => {
                let name = SourceName::user(name);
                if self.kernel.registry.name(source) != Some(&name) {
                    self.register_identity(identity, &name);
                }
            }
            (Some(_), None) => {}
        }
    }

    /// A uid is one of many that a user has: all of them are that user.
    pub(super) fn on_subordinate(&mut self, uid: u32, range: &SubordinateRange) {
        self.asked.remove(&uid);
        let owner = SourceName::user(range.owner.as_str());
        if self.kernel.registry.lookup(Identity::Uid(uid)).is_none() {
            let done = self
                .register(&owner)
                .and_then(|id| self.kernel.registry.lead_uids(range.first, range.last, id));
            self.count_refusal(&done);
            if let Err(error) = done {
                tracing::error!(source = %owner, %error, "cannot register subordinate uids");
            }
        }
        self.keep_waiting_events();
    }

    /// Asks who the registered uids are by now.
    pub(super) fn look_users_up_again(&self) {
        let identities = self.kernel.registry.all_identities();
        let uids = identities.filter_map(|(identity, _)| match identity {
            Identity::Uid(uid) => Some(uid),
            _ => None,
        });
        lookup::users(uids.collect(), &self.lookups);
    }

    /// Evidence of identities that something else has registered meanwhile.
    fn keep_waiting_events(&mut self) {
        let known: Vec<(Identity, u32)> = self
            .waiting
            .keys()
            .filter_map(|identity| Some((*identity, self.kernel.registry.lookup(*identity)?)))
            .collect();
        for (identity, source) in known {
            for event in self.waiting.remove(&identity).unwrap_or_default() {
                self.keep_event(source, &event);
            }
        }
    }

    /// A cgroup came or went.
    pub(super) fn on_cgroup(&mut self, event: CgroupEvent) {
        match event {
            CgroupEvent::Appeared { path, id } => {
                let by_hand = SourceName::container(path.as_str());
                let source = self.kernel.registry.id(&by_hand);
                if source.is_some_and(|source| self.is_under_verdict(source)) {
                    // As when systemd restarts a unit that an operator blocked.
                    self.register_identity(Identity::Cgroup(id), &by_hand);
                    self.cgroups.insert(id, path);
                } else {
                    self.note_container(&path, id);
                }
            }
            CgroupEvent::Gone { id, .. } => self.forget_cgroup(id),
            CgroupEvent::Synced => {}
            CgroupEvent::Unwatched { directories } => self.warn(
                About::CgroupWatch,
                Some(format!(
                    "{directories} cgroups cannot be watched, so new containers in them are \
                     noticed a few seconds late: raise sysctl fs.inotify.max_user_watches"
                )),
            ),
        }
    }

    /// A cgroup is no container any more. Its namespace and its device still lead to it.
    pub(super) fn forget_cgroup(&mut self, id: u64) {
        self.cgroups.remove(&id);
        self.forget_container(id);
        if let Err(error) = self.kernel.registry.forget(Identity::Cgroup(id)) {
            tracing::error!(cgroup = id, %error, "cannot forget a cgroup");
        }
    }
}

impl State {
    /// Whether there is a verdict on the source, whatever it says.
    pub(super) fn is_under_verdict(&self, source: u32) -> bool {
        self.verdicts.keys().any(|(of, _)| *of == source)
    }

    /// A cgroup that an operator named leads to a source of its own only as long as there is an
    /// order: those who run in it are judged by who they are.
    pub(super) fn forget_if_by_hand(&mut self, source: u32) {
        let name = self.kernel.registry.name(source);
        if !name.is_some_and(SourceName::is_cgroup_path) || self.is_under_verdict(source) {
            return;
        }
        for identity in self.kernel.registry.identities(source) {
            if let Identity::Cgroup(id) = identity {
                self.forget_cgroup(id);
            }
        }
    }
}

/// Users whose names are looked up at the same time.
const LOOKUPS_AT_ONCE: usize = 16;

/// Identities that evidence is kept for until they have a name, and how much for each.
const WAITING: usize = 4096;
const WAITING_EVENTS: usize = 32;

/// What an exempt source's verdict says.
const EXEMPTION: Terms = Terms {
    action: ACTION_ALLOW,
    flags: VERDICT_EXEMPT,
    expires_ns: 0,
    rate: Rate::UNLIMITED,
    record: 0,
};
