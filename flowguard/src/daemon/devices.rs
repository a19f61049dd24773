//! Devices that come and go: whose they are, and the edge program on them.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    time::{Duration, Instant},
};

use flowguard_common::source::{
    Kind, LINK_ETHERNET, LINK_IP, ROLE_EDGE, ROLE_GATEWAY, ROLE_UPLINK,
};
use tokio::sync::mpsc;

use super::{lookup, state::State, warnings::About};
use crate::{
    identity::{
        self,
        links::{Link, LinkEvent, LinkKind},
        netns::NetnsError,
        peers::Peer,
    },
    kernel::{
        Identity, KernelError, Role, Table,
        steps::{Step, reached},
    },
    model::{SourceName, escape},
};

/// How long a device without a container is looked at again: an engine makes the device before
/// it moves its processes in.
const SETTLING: Duration = Duration::from_secs(10);

/// How long no device must have appeared before programs are attached that can wait. Each takes
/// the kernel 2 to 15 ms (measured on 6.18), in which no other can be attached to anything.
const QUIET: Duration = Duration::from_millis(50);

/// Containers that appear within this time share one look at their devices.
const TOGETHER: Duration = Duration::from_millis(10);

/// How old what is known of routes may be.
const ROUTES_AGE: Duration = Duration::from_secs(10);

/// The devices there are.
#[derive(Debug)]
pub(super) struct Devices {
    links: HashMap<u32, Link>,
    /// Where to ask what is behind devices.
    peers: mpsc::Sender<Link>,
    /// Where to ask who holds taps: apart, since it takes longer.
    taps: mpsc::Sender<Link>,
    /// Namespace cookie behind each attached device.
    netns: HashMap<u32, u64>,
    /// Devices without a container, and until when they are looked at again.
    settling: HashMap<u32, Instant>,
    /// Devices that lack programs which can wait, until no device has appeared for a moment.
    incomplete: BTreeSet<u32>,
    /// When devices without a container are looked at before the next tick.
    look_at: Option<tokio::time::Instant>,
    quiet_at: tokio::time::Instant,
    /// Devices that lead to the world by the host's routes.
    leading_out: BTreeSet<u32>,
    /// Whether they are known yet.
    routes_known: bool,
    /// When the routes were last looked at.
    routes_seen: Option<Instant>,
    /// When gateways that could not be attached were last tried.
    pub(super) gateways_tried: Option<Instant>,
}

impl Devices {
    /// None yet.
    pub(super) fn new(peers: mpsc::Sender<Link>, taps: mpsc::Sender<Link>) -> Self {
        Self {
            links: HashMap::new(),
            peers,
            taps,
            netns: HashMap::new(),
            settling: HashMap::new(),
            incomplete: BTreeSet::new(),
            look_at: None,
            quiet_at: tokio::time::Instant::now(),
            leading_out: BTreeSet::new(),
            routes_known: false,
            routes_seen: None,
            gateways_tried: None,
        }
    }

    /// All of them.
    pub(super) fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }
}

impl State {
    /// Something happened to a device.
    pub(super) fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up(link) => {
                let ifindex = link.ifindex;
                self.devices.links.insert(ifindex, link);
                self.devices.quiet_at = tokio::time::Instant::now() + QUIET;
                self.devices
                    .settling
                    .insert(ifindex, Instant::now() + SETTLING);
                self.devices.routes_seen = None;
                self.look_at(vec![ifindex]);
            }
            LinkEvent::Gone { ifindex } => self.device_gone(ifindex),
            LinkEvent::AddressesChanged => {
                self.addresses_changed = true;
                self.devices.routes_seen = None;
            }
            LinkEvent::Synced => {
                self.forget_dead_edges();
                self.find_vacancies();
            }
        }
    }

    /// Looks at the host's routes now and then, and when addresses or devices changed.
    pub(super) fn look_at_routes(&mut self) {
        let now = Instant::now();
        let seen = self.devices.routes_seen;
        if self.config.uplinks.auto && seen.is_none_or(|seen| now >= seen + ROUTES_AGE) {
            self.devices.routes_seen = Some(now);
            lookup::uplinks(&self.lookups);
        }
    }

    /// It is known which devices lead to the world.
    pub(super) fn on_uplinks(&mut self, found: io::Result<BTreeSet<u32>>) {
        match found {
            Ok(found) => {
                let was_known = std::mem::replace(&mut self.devices.routes_known, true);
                if !was_known || found != self.devices.leading_out {
                    self.devices.leading_out = found;
                    self.look_at_all_devices();
                }
            }
            Err(error) => tracing::error!(%error, "cannot ask for this host's routes"),
        }
    }

    fn is_attached(&self, link: &Link) -> bool {
        let known = self.kernel.hooks.devices().get(&link.ifindex);
        known.is_some_and(|known| known.role == Role::Edge && known.name == link.name)
    }

    /// Whether a device of this role that has it no more is to be let go of. What an earlier daemon
    /// took for an uplink is one until the routes are known.
    fn may_release(&self, known: u32, role: Option<u32>) -> bool {
        known != ROLE_UPLINK || role.is_some() || self.devices.routes_known
    }

    /// Whether a device is an uplink. An edge never is.
    fn is_uplink(&self, link: &Link) -> bool {
        let leads_out = self.devices.leading_out.contains(&link.ifindex);
        self.config.uplinks.matches(&link.name, leads_out)
    }

    fn guard_uplink(&mut self, link: &Link) {
        let layer = link_layer(link);
        let registry = &mut self.kernel.registry;
        let done = registry
            .lead_shared(link.ifindex, layer, ROLE_UPLINK)
            .and_then(|()| {
                let hooks = &mut self.kernel.hooks;
                hooks.attach(link.ifindex, &link.name, Role::Uplink)
            });
        let what = done.err().map(|error| {
            format!(
                "what leaves over {} is not watched, and answers to this host's users are not \
                 seen: {:#}",
                escape(&link.name),
                anyhow::Error::from(error)
            )
        });
        self.warn(About::Device(link.ifindex), what);
    }

    /// Devices that an earlier daemon attached and that died while none ran.
    fn forget_dead_edges(&mut self) {
        let dead: Vec<u32> = self
            .kernel
            .registry
            .devices()
            .filter(|ifindex| !self.devices.links.contains_key(ifindex))
            .collect();
        for ifindex in dead {
            self.device_gone(ifindex);
        }
    }

    /// Guards these devices, if they are edges by their names, and asks whose they are; lets go of
    /// others.
    pub(super) fn look_at(&mut self, devices: Vec<u32>) {
        for ifindex in devices {
            let Some(link) = self.devices.links.get(&ifindex).cloned() else {
                continue;
            };
            let role = if self.is_gateway(&link) {
                Some(ROLE_GATEWAY)
            } else if self.config.edges.matches(&link.name) {
                Some(ROLE_EDGE)
            } else if self.is_uplink(&link) {
                Some(ROLE_UPLINK)
            } else {
                None
            };
            let known = self.kernel.registry.role(ifindex);
            if known.is_some_and(|known| role != Some(known) && self.may_release(known, role)) {
                self.release(ifindex);
            }
            match role {
                Some(ROLE_GATEWAY) => self.guard_gateway(&link),
                Some(ROLE_UPLINK) => self.guard_uplink(&link),
                Some(_) => {
                    self.guard_at_once(&link);
                    // If the queue is full, the next tick asks: the device is settling.
                    let queue = match link.kind {
                        LinkKind::Tun => &self.devices.taps,
                        LinkKind::Veth | LinkKind::Other => &self.devices.peers,
                    };
                    drop(queue.try_send(link));
                }
                None => {}
            }
        }
    }

    /// Attaches a device before it is known who is behind it: until then it is the interface's own,
    /// and nothing goes unseen while `/proc` is searched.
    fn guard_at_once(&mut self, link: &Link) {
        if self.is_attached(link) {
            return;
        }
        if !self.finds_room(Identity::Edge(link.ifindex)) {
            return;
        }
        let owner = match self.kernel.registry.lookup(Identity::Edge(link.ifindex)) {
            Some(owner) => Ok(owner),
            None => self.register(&SourceName::iface(link.name.as_str())),
        };
        let guarded = owner.and_then(|owner| self.attach_device(link, owner));
        self.warn_unguarded(link, guarded);
    }

    fn warn_unguarded(&mut self, link: &Link, guarded: Result<(), KernelError>) {
        let what = guarded.err().map(|error| {
            format!(
                "the device {} is not guarded, so its packets are not counted: {:#}",
                escape(&link.name),
                anyhow::Error::from(error)
            )
        });
        self.warn(About::Device(link.ifindex), what);
    }

    /// After a change of names that are edges.
    pub(super) fn look_at_all_devices(&mut self) {
        self.look_at(self.devices.links.keys().copied().collect());
    }

    /// Devices that a container may have moved in behind meanwhile.
    pub(super) fn look_at_settling_devices(&mut self) {
        let now = Instant::now();
        self.devices.look_at = None;
        self.devices.settling.retain(|_, until| *until > now);
        let waiting: Vec<u32> = self
            .devices
            .settling
            .keys()
            .copied()
            .filter(|ifindex| {
                let owner = self.kernel.registry.lookup(Identity::Edge(*ifindex));
                let name = owner.and_then(|id| self.kernel.registry.name(id));
                name.is_none_or(|name| name.kind == Kind::Iface)
            })
            .collect();
        if !waiting.is_empty() {
            self.look_at(waiting);
        }
    }

    /// When devices without a container are to be looked at; none: at the next tick.
    pub(super) fn look_due(&self) -> Option<tokio::time::Instant> {
        self.devices.look_at
    }

    /// A container appeared: it may be behind a device that is there already.
    pub(super) fn settle_devices(&mut self) {
        let until = Instant::now() + SETTLING;
        let soon = tokio::time::Instant::now() + TOGETHER;
        self.devices.look_at.get_or_insert(soon);
        for ifindex in self.devices.links.keys() {
            self.devices.settling.insert(*ifindex, until);
        }
    }

    /// It is known what is behind these devices, or not: then those that have an owner keep it.
    pub(super) fn on_peers(
        &mut self,
        links: &[Link],
        peers: Result<HashMap<u32, Peer>, NetnsError>,
    ) {
        let failure = peers.as_ref().err().map(|error| {
            format!("cannot tell which containers are behind which devices, trying again: {error}")
        });
        self.warn(About::Peers, failure);
        for link in links {
            // It may have gone or changed while we looked; then another look is under way.
            if self.devices.links.get(&link.ifindex) != Some(link) {
                continue;
            }
            let owner = self.kernel.registry.lookup(Identity::Edge(link.ifindex));
            let guarded = match (&peers, owner) {
                (Ok(peers), _) => self.guard_device(link, peers.get(&link.ifindex)),
                (Err(_), Some(owner)) => self.attach_device(link, owner),
                (Err(_), None) => {
                    let until = Instant::now() + SETTLING;
                    self.devices.settling.insert(link.ifindex, until);
                    continue;
                }
            };
            self.warn_unguarded(link, guarded);
        }
    }

    fn guard_device(&mut self, link: &Link, peer: Option<&Peer>) -> Result<(), KernelError> {
        if !self.finds_room(Identity::Edge(link.ifindex)) {
            // Said once for all of them, by a warning.
            return Ok(());
        }
        let cgroups = peer.map(|peer| peer.cgroups.as_slice()).unwrap_or_default();
        self.note_containers_around(cgroups);
        let mut owner = identity::edge_owner(&link.name, cgroups, |path| self.container_of(path));
        // Of a VM that is in no container, as by QEMU's command line.
        let vm = peer.and_then(|peer| peer.vm.as_deref());
        if let (Kind::Iface, Some(vm)) = (owner.kind, vm) {
            owner = SourceName::container(vm);
        }
        let before = self.kernel.registry.lookup(Identity::Edge(link.ifindex));
        let source = self.register(&owner)?;
        if let Some(cookie) = peer.and_then(|peer| peer.cookie)
            && self.finds_room(Identity::Netns(cookie))
        {
            self.kernel.registry.lead(Identity::Netns(cookie), source)?;
            self.devices.netns.insert(link.ifindex, cookie);
        }
        self.attach_device(link, source)?;
        if let Some(before) = before.filter(|before| *before != source) {
            self.vacate(before);
        }
        Ok(())
    }

    fn attach_device(&mut self, link: &Link, source: u32) -> Result<(), KernelError> {
        let layer = link_layer(link);
        // The device first: from the moment the connect hooks leave the counting to it, it counts.
        let registry = &mut self.kernel.registry;
        registry.lead_edge(link.ifindex, source, layer)?;
        reached(Step::DeviceLed)?;
        self.kernel
            .hooks
            .attach_required(link.ifindex, &link.name, Role::Edge)?;
        self.devices.incomplete.insert(link.ifindex);
        reached(Step::DeviceAttached)?;
        self.kernel.registry.settle_edge(link.ifindex)?;
        reached(Step::DeviceSettled)
    }

    /// When a device is to get what can wait; none: all have it.
    pub(super) fn completion_due(&self) -> Option<tokio::time::Instant> {
        let devices = &self.devices;
        (!devices.incomplete.is_empty()).then_some(devices.quiet_at)
    }

    /// Gives one device what could wait.
    pub(super) fn complete_a_device(&mut self) {
        let Some(ifindex) = self.devices.incomplete.pop_first() else {
            return;
        };
        // It may have gone, or be no edge any more.
        let link = self.devices.links.get(&ifindex).cloned();
        let Some(link) = link.filter(|link| self.is_attached(link)) else {
            return;
        };
        let done = self.kernel.hooks.attach(ifindex, &link.name, Role::Edge);
        self.warn_unguarded(&link, done);
    }

    fn device_gone(&mut self, ifindex: u32) {
        self.devices.links.remove(&ifindex);
        self.devices.settling.remove(&ifindex);
        let (used, room) = self.kernel.registry.used(Table::Edges);
        self.release(ifindex);
        self.warn(About::Device(ifindex), None);
        self.warn(About::Gateway(ifindex), None);
        if used >= room {
            self.let_one_in();
        }
    }

    /// There is room again for one of the devices that found none.
    fn let_one_in(&mut self) {
        let (used, room) = self.kernel.registry.used(Table::Edges);
        if used >= room {
            return;
        }
        let waiting = self.devices.links.values().find(|link| {
            self.config.edges.matches(&link.name)
                && !self.kernel.hooks.devices().contains_key(&link.ifindex)
        });
        if let Some(ifindex) = waiting.map(|link| link.ifindex) {
            self.look_at(vec![ifindex]);
        }
    }

    /// Lets go of a device.
    pub(super) fn release(&mut self, ifindex: u32) {
        let owner = self.kernel.registry.lookup(Identity::Edge(ifindex));
        let cookie = self.devices.netns.remove(&ifindex);
        // A namespace may have another device.
        let cookie = cookie
            .filter(|cookie| !self.devices.netns.values().any(|other| other == cookie))
            .map(Identity::Netns)
            // What was counted of it before it was registered is found through it.
            .filter(|netns| !self.kernel.fallback.has(*netns));
        for identity in [Some(Identity::Edge(ifindex)), cookie]
            .into_iter()
            .flatten()
        {
            if let Err(error) = self.kernel.registry.forget(identity) {
                tracing::error!(%error, %identity, "cannot forget an identity");
            }
        }
        if let Err(error) = self.kernel.registry.forget_shared(ifindex) {
            tracing::error!(%error, ifindex, "cannot forget a device");
        }
        let done = if self.devices.links.contains_key(&ifindex) {
            self.kernel.hooks.detach(ifindex)
        } else {
            self.kernel.hooks.gone(ifindex)
        };
        if let Err(error) = done {
            tracing::error!(%error, ifindex, "cannot let go of a device");
        }
        if let Some(owner) = owner {
            self.vacate(owner);
        }
    }
}

/// How frames on a device begin.
pub(super) fn link_layer(link: &Link) -> u32 {
    if link.has_ethernet {
        LINK_ETHERNET
    } else {
        LINK_IP
    }
}
