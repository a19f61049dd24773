//! From a configuration to a daemon that is ready.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, RwLock},
};

use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc};

use super::{
    devices::Devices,
    evidence::Evidence,
    history,
    lookup::{self, Lookup},
    privilege::{self, MissingPrivilege},
    processes::{Processes, Seen},
    state::{Host, State},
};
use crate::{
    config::{Config, EdgeAttach},
    control::server::BindError,
    identity::{
        cgroup::{self, CgroupError},
        cgroup_watch::CgroupWatchError,
        links::LinkError,
        netns::{self, NetnsError},
        peers::find_peers,
        taps::find_holders,
    },
    kernel::{
        self, EdgeMethod, EventReader, Kernel, KernelError, Loaded, Pins,
        steps::{Step, reached},
    },
    policy::Engine,
};

/// Events that a slow follower may lag behind before it misses some.
const FOLLOWER_LAG: usize = 4096;

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Remove a guard of another contract and start afresh.
    pub replace: bool,
    /// It belongs to a terminal: when that is closed, SIGHUP ends it rather than reloading.
    pub interactive: bool,
}

/// Why the daemon does not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The process may not do what it must.
    #[error(transparent)]
    Privilege(#[from] MissingPrivilege),
    /// The control socket cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The kernel refuses.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// There is no cgroup2 hierarchy to guard.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The configured part of it does not exist or is not part of it.
    #[error(
        "`paths.cgroup_root` is {}, which is no cgroup below {}",
        configured.display(),
        mount.display()
    )]
    CgroupRoot {
        /// What is configured.
        configured: PathBuf,
        /// Where cgroup2 is mounted.
        mount: PathBuf,
    },
    /// Cgroups cannot be followed.
    #[error(transparent)]
    CgroupWatch(#[from] CgroupWatchError),
    /// Devices cannot be followed.
    #[error(transparent)]
    Links(#[from] LinkError),
    /// The own namespace is unknown.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Something else the system refuses.
    #[error("cannot {action}")]
    System {
        /// Doing what.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A daemon that is ready to run.
pub(super) struct Started {
    pub(super) state: State,
    pub(super) events: EventReader,
    pub(super) lookups: mpsc::Receiver<Lookup>,
    pub(super) seen: mpsc::Receiver<Seen>,
}

/// Loads or adopts the guard and takes stock.
pub(super) fn start(config: Config, options: Options) -> Result<Started, RunError> {
    privilege::require()?;
    let host = find_host(&config)?;
    let pins = Pins::new(&config.paths.pins);
    if options.replace && matches!(pins.check_contract(), Err(KernelError::Contract { .. })) {
        let removed = kernel::detach(pins.dir())?;
        tracing::warn!(?removed, "removed the guard of another contract");
    }
    let Loaded {
        kernel,
        events,
        log,
        lock,
        adopted,
    } = Kernel::load(&kernel::Options {
        pins,
        cgroup: cgroup::directory(&host.cgroup_mount, &host.cgroup),
        max_sources: config.kernel.max_sources,
        max_edges: config.kernel.max_edges,
        max_identities: config.kernel.max_identities,
        max_unregistered: config.kernel.max_unregistered,
        ring_bytes: config.kernel.ring_bytes,
        edge_method: match config.kernel.edge_attach {
            EdgeAttach::Auto => None,
            EdgeAttach::Tcx => Some(EdgeMethod::Tcx),
            EdgeAttach::Clsact => Some(EdgeMethod::Clsact),
        },
    })?;
    if let Some(log) = log {
        tokio::spawn(log.run());
    }
    let (store, store_warning) = history::open(&config.paths.state, adopted)?;
    let (broadcast, _) = broadcast::channel(FOLLOWER_LAG);
    let (lookups, answers) = mpsc::channel(64);
    let (processes, seen) = Processes::start().map_err(|source| RunError::System {
        action: "start a thread",
        source,
    })?;
    let now = Timestamp::now();
    let mut state = State {
        config_loaded: now,
        started: now,
        adopted,
        host,
        kernel,
        _lock: lock,
        own_addresses: Vec::new(),
        trusted_addresses: Vec::new(),
        addresses_left_out: 0,
        addresses_changed: false,
        store,
        recorder: Default::default(),
        databases: 0,
        refused_orders: Default::default(),
        engine: Engine::new(config.judgement.clone()),
        tally: Default::default(),
        patterns: Arc::new(RwLock::new(config.containers.clone())),
        evidence: Evidence::default(),
        devices: Devices::new(
            lookup::peers(find_peers, &lookups),
            lookup::peers(find_holders, &lookups),
        ),
        vacancies: Default::default(),
        refusals: Default::default(),
        forgotten: None,
        events_received: 0,
        verdicts: Default::default(),
        exempted: Default::default(),
        cgroups: Default::default(),
        containers: Default::default(),
        tenants: Default::default(),
        groups: Default::default(),
        newcomers: Default::default(),
        waiting: Default::default(),
        processes,
        asked: Default::default(),
        warnings: Default::default(),
        broadcast,
        lookups,
        config,
    };
    state.warn("database", store_warning);
    state.warn_capacity();
    let config = state.config.clone();
    let addresses = state.local_addresses(&config);
    state.put_in_force(&config, addresses)?;
    reached(Step::PolicyInForce)?;
    state.adopt_verdicts()?;
    state.square_records();
    state.exempt_all_or_not();
    reached(Step::VerdictsAdopted)?;
    state.adopt_cgroups()?;
    reached(Step::CgroupsAdopted)?;
    state.look_users_up_again();
    state.remember_conduct();
    state.read_mapping(true);
    // The first look is the baseline: whatever happens from now on is news.
    state.tick();
    Ok(Started {
        state,
        events,
        lookups: answers,
        seen,
    })
}

fn find_host(config: &Config) -> Result<Host, RunError> {
    let cgroup_mount = cgroup::find_cgroup2_root()?;
    let configured = config.paths.cgroup_root.as_ref().unwrap_or(&cgroup_mount);
    let outside = || RunError::CgroupRoot {
        configured: configured.clone(),
        mount: cgroup_mount.clone(),
    };
    let below = configured
        .strip_prefix(&cgroup_mount)
        .map_err(|_| outside())?;
    if !configured.is_dir() {
        return Err(outside());
    }
    let below = below.to_str().ok_or_else(outside)?;
    Ok(Host {
        cgroup: format!("/{below}"),
        netns: netns::own_cookie()?.unwrap_or(0),
        cgroup_mount,
    })
}

impl State {
    /// Registered sources keep their place, whatever is configured.
    fn warn_capacity(&mut self) {
        let (has, wants) = (
            self.kernel.registry.capacity(),
            self.config.kernel.max_sources,
        );
        let what = (has > wants).then(|| {
            format!(
                "{has} sources are registered, more than the {wants} of `kernel.max_sources`: they \
                 keep their place, and no other gets one. Raise it"
            )
        });
        self.warn("capacity", what);
    }
}
