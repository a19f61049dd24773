//! Devices that come and go: whose they are, and the edge program on them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use flowguard_common::source::{Kind, LINK_ETHERNET, LINK_IP, ROLE_EDGE, ROLE_GATEWAY};

use super::{gateways, lookup, state::State};
use crate::{
    identity::{
        self,
        links::{Link, LinkEvent},
        netns::NetnsError,
        peers::Peer,
    },
    kernel::{Identity, KernelError, Role},
    model::escape,
};

/// How long a device without a container is looked at again: an engine makes the device before
/// it moves its processes in.
const SETTLING: Duration = Duration::from_secs(10);

/// The devices there are.
#[derive(Debug, Default)]
pub(super) struct Devices {
    links: HashMap<u32, Link>,
    /// Namespace cookie behind each attached device.
    netns: HashMap<u32, u64>,
    /// Devices without a container, and until when they are looked at again.
    settling: HashMap<u32, Instant>,
    /// When gateways that could not be attached were last tried.
    pub(super) gateways_tried: Option<Instant>,
}

impl Devices {
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
                self.devices
                    .settling
                    .insert(ifindex, Instant::now() + SETTLING);
                self.look_at(vec![ifindex]);
            }
            LinkEvent::Gone { ifindex } => self.device_gone(ifindex),
            LinkEvent::AddressesChanged => self.addresses_changed = true,
            LinkEvent::Synced => self.forget_dead_edges(),
        }
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

    /// Finds out whose devices these are, if they are edges by their names; lets go of others.
    pub(super) fn look_at(&mut self, devices: Vec<u32>) {
        let mut edges = Vec::new();
        for ifindex in devices {
            let Some(link) = self.devices.links.get(&ifindex).cloned() else {
                continue;
            };
            let role = if self.is_gateway(&link) {
                Some(ROLE_GATEWAY)
            } else if self.config.edges.matches(&link.name) {
                Some(ROLE_EDGE)
            } else {
                None
            };
            let known = self.kernel.registry.role(ifindex);
            if known.is_some() && known != role {
                self.release(ifindex);
            }
            match role {
                Some(ROLE_GATEWAY) => self.guard_gateway(&link),
                Some(_) => edges.push(link),
                None => {}
            }
        }
        if !edges.is_empty() {
            lookup::peers(edges, &self.lookups);
        }
    }

    /// After a change of names that are edges.
    pub(super) fn look_at_all_devices(&mut self) {
        self.look_at(self.devices.links.keys().copied().collect());
    }

    /// Devices that a container may have moved in behind meanwhile.
    pub(super) fn look_at_settling_devices(&mut self) {
        let now = Instant::now();
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

    /// A container appeared: it may be behind a device that is there already.
    pub(super) fn settle_devices(&mut self) {
        let until = Instant::now() + SETTLING;
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
        self.warn("peers", failure);
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
            let what = guarded.err().map(|error| {
                format!(
                    "the device {} is not guarded, so its packets are not counted: {:#}",
                    escape(&link.name),
                    anyhow::Error::from(error)
                )
            });
            self.warn(about(link.ifindex), what);
        }
    }

    fn guard_device(&mut self, link: &Link, peer: Option<&Peer>) -> Result<(), KernelError> {
        let cgroups = peer.map(|peer| peer.cgroups.as_slice()).unwrap_or_default();
        let owner = identity::edge_owner(&link.name, cgroups, |path| self.container_of(path));
        let source = self.register(&owner)?;
        if let Some(cookie) = peer.and_then(|peer| peer.cookie) {
            self.kernel.registry.lead(Identity::Netns(cookie), source)?;
            self.devices.netns.insert(link.ifindex, cookie);
        }
        self.attach_device(link, source)
    }

    fn attach_device(&mut self, link: &Link, source: u32) -> Result<(), KernelError> {
        let layer = link_layer(link);
        // The device first: from the moment the connect hooks leave the counting to it, it counts.
        let registry = &mut self.kernel.registry;
        registry.lead_edge(link.ifindex, source, layer)?;
        self.kernel
            .hooks
            .attach(link.ifindex, &link.name, Role::Edge)?;
        self.kernel.registry.settle_edge(link.ifindex)
    }

    fn device_gone(&mut self, ifindex: u32) {
        self.devices.links.remove(&ifindex);
        self.devices.settling.remove(&ifindex);
        self.release(ifindex);
        self.warn(about(ifindex), None);
        self.warn(gateways::about(ifindex), None);
    }

    /// Lets go of a device.
    pub(super) fn release(&mut self, ifindex: u32) {
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

/// What a device's warnings go under.
pub(super) fn about(ifindex: u32) -> String {
    format!("device {ifindex}")
}
