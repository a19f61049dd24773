//! Everything the daemon knows, owned by its one task.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, RwLock},
};

use flowguard_common::{class::Class, names::MAX_TRUSTED};
use ipnet::IpNet;
use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc};

use super::{
    audit::RefusedOrders,
    devices::Devices,
    evidence::Evidence,
    groups::Groups,
    judgement::Tally,
    lookup::Lookup,
    mapping::Tenants,
    naming::Containers,
    processes::{Processes, Seen},
    tables::Refusals,
    vacancies::Vacancies,
    verdicts::InForce,
    warnings::{About, Warnings},
};
use crate::{
    config::{Config, ContainerPatterns},
    control::api,
    identity::links,
    kernel::{Identity, Kernel, KernelError, PinsLock, Policy, clock::Moment},
    model::ClassName,
    policy::Engine,
    store::{Keeper, Recorder},
};

/// Trusted destinations that one bank has room for.
pub(super) const TRUSTED_ROOM: usize = (MAX_TRUSTED / 2) as usize;

/// Patterns that the cgroup watch reads while the daemon may exchange them.
pub(super) type SharedPatterns = Arc<RwLock<ContainerPatterns>>;

/// Where this daemon stands on the host.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Mount point of the cgroup2 hierarchy.
    pub(super) cgroup_mount: PathBuf,
    /// The guarded part of it, as a path from its root.
    pub(super) cgroup: String,
    /// Cookie of the network namespace.
    pub(super) netns: u64,
}

/// The daemon's state.
pub(super) struct State {
    pub(super) config: Config,
    pub(super) config_loaded: Timestamp,
    pub(super) started: Timestamp,
    pub(super) adopted: bool,
    pub(super) host: Host,
    pub(super) kernel: Kernel,
    /// Nobody else runs this guard.
    pub(super) _lock: PinsLock,
    /// This host's addresses, as the kernel programs know them.
    pub(super) addresses: LocalAddresses,
    /// They may be others by now.
    pub(super) addresses_changed: bool,
    pub(super) store: Keeper,
    /// What is written once a minute.
    pub(super) recorder: Recorder,
    /// How often another database took the place of the one in use, as far as it is known.
    pub(super) databases: u64,
    /// Orders that were refused, in the minute that runs.
    pub(super) refused_orders: RefusedOrders,
    pub(super) engine: Engine,
    /// What its rules asked for.
    pub(super) tally: Tally,
    pub(super) patterns: SharedPatterns,
    pub(super) evidence: Evidence,
    pub(super) devices: Devices,
    /// Ids of sources that may be given to somebody else.
    pub(super) vacancies: Vacancies,
    /// Who found no room in the kernel's tables.
    pub(super) refusals: Refusals,
    /// Outcomes that were forgotten when last looked at, and when the last one was.
    pub(super) forgotten: Option<(u64, Option<std::time::Instant>)>,
    /// Events of the kernel that arrived here.
    pub(super) events_received: u64,
    /// Verdicts in force, exemptions not among them.
    pub(super) verdicts: BTreeMap<(u32, Class), InForce>,
    /// Sources whose `allow` in the kernel comes from a rule of the configuration.
    pub(super) exempted: HashSet<u32>,
    /// Paths of registered cgroups.
    pub(super) cgroups: HashMap<u64, String>,
    /// Containers by the paths of their cgroups.
    pub(super) containers: Containers,
    /// Whose sources are.
    pub(super) tenants: Tenants,
    /// Groups of users.
    pub(super) groups: Groups,
    /// Unregistered identities seen at the last tick.
    pub(super) newcomers: BTreeSet<Identity>,
    /// First attempts of identities that are about to be registered: evidence that is to get
    /// their name.
    pub(super) waiting: HashMap<Identity, Vec<Seen>>,
    /// Who looks at the processes behind attempts.
    pub(super) processes: Processes,
    /// Users whose name is being looked up.
    pub(super) asked: HashSet<u32>,
    /// What is wrong.
    pub(super) warnings: Warnings,
    pub(super) broadcast: broadcast::Sender<api::Event>,
    /// Answers of look-ups that may block come back here.
    pub(super) lookups: mpsc::Sender<Lookup>,
}

/// This host's own addresses, mail to which is trusted unless the configuration says otherwise.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct LocalAddresses {
    /// All of them, sorted.
    pub(super) own: Vec<IpAddr>,
    /// How many of them, from the first, are trusted: those that the kernel programs know.
    pub(super) trusted: usize,
    /// How many more should be trusted than there is room for.
    pub(super) left_out: usize,
}

impl State {
    /// Hands the kernel what it needs of a configuration, and this host's addresses. After an error
    /// the kernel, and what is known of it, is as before.
    pub(super) fn put_in_force(
        &mut self,
        config: &Config,
        addresses: LocalAddresses,
    ) -> Result<(), KernelError> {
        let trusted = addresses.own.iter().take(addresses.trusted);
        let policy = self.kernel_policy(config, trusted.copied());
        self.kernel.settings.swap(&policy)?;
        self.note_left_out(addresses.left_out);
        self.addresses = addresses;
        Ok(())
    }

    /// This host's addresses; if they cannot be listed, those that were known.
    pub(super) fn local_addresses(&self, config: &Config) -> LocalAddresses {
        let own = links::local_addresses().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot list this host's addresses: those known so far hold");
            self.addresses.own.clone()
        });
        let guard = &config.guard;
        if !guard.trust_local_addresses {
            return LocalAddresses {
                own,
                ..LocalAddresses::default()
            };
        }
        let room = TRUSTED_ROOM.saturating_sub(guard.trusted.len() + guard.smarthosts.len());
        LocalAddresses {
            trusted: own.len().min(room),
            left_out: own.len().saturating_sub(room),
            own,
        }
    }

    fn note_left_out(&mut self, left_out: usize) {
        let what = (left_out > 0).then(|| {
            format!(
                "{left_out} of this host's addresses are not trusted, since {TRUSTED_ROOM} trusted \
                 destinations are all there is room for: mail that goes there counts as direct or \
                 submission. Write the networks they are in into `guard.trusted`, and set \
                 `guard.trust_local_addresses` to false"
            )
        });
        self.warn(About::LocalAddresses, what);
    }

    /// Tells the kernel of new addresses, if there are any: many changes at once cost as much as
    /// one.
    pub(super) fn refresh_addresses(&mut self) {
        if !std::mem::take(&mut self.addresses_changed) {
            return;
        }
        let config = self.config.clone();
        let addresses = self.local_addresses(&config);
        if addresses == self.addresses {
            return;
        }
        if let Err(error) = self.put_in_force(&config, addresses) {
            self.addresses_changed = true;
            tracing::error!(%error, "cannot tell the kernel this host's new addresses");
        }
    }

    /// What the kernel needs of a configuration.
    fn kernel_policy(&self, config: &Config, addresses: impl Iterator<Item = IpAddr>) -> Policy {
        let mut trusted = config.guard.trusted.clone();
        trusted.extend(addresses.map(IpNet::from));
        // Whoever is sent there may go there.
        let smarthosts = &config.guard.smarthosts;
        trusted.extend(smarthosts.iter().map(|host| IpNet::from(host.ip())));
        let ceiling = |class| config.ceilings.of(class).unwrap_or_default();
        Policy {
            mode: config.mode,
            deny_errno: config.guard.deny.errno(),
            host_netns: self.host.netns,
            event_rate: config.kernel.events_per_source,
            ceilings: [
                ceiling(ClassName::Direct),
                ceiling(ClassName::Submission),
                ceiling(ClassName::Relay),
            ],
            direct_ports: config.guard.direct_ports.clone(),
            submission_ports: config.guard.submission_ports.clone(),
            trusted,
            unanswered_after: config.kernel.unanswered_after,
            smarthosts: smarthosts.clone(),
            gateway_bits4: config.gateway.ipv4_prefix,
            gateway_bits6: config.gateway.ipv6_prefix,
        }
    }

    /// The present on both clocks.
    pub(super) fn now(&self) -> Moment {
        // CLOCK_BOOTTIME cannot fail once it has worked at start; the start is the safe answer:
        // nothing expires.
        Moment::now().unwrap_or(Moment {
            boot: std::time::Duration::ZERO,
            wall: self.started,
        })
    }
}
