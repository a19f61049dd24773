//! Gateways: interfaces through which tenants' traffic enters, each told by its address.

use std::time::{Duration, Instant};

use flowguard_common::source::{Kind, ROLE_GATEWAY};
use ipnet::IpNet;

use super::{devices, handle::RequestError, state::State, warnings::About};
use crate::{
    identity::links::Link,
    kernel::{Identity, KernelError},
    model::{SourceName, escape},
};

/// How often a gateway is tried that could not be attached: another program may have left it.
const AGAIN: Duration = Duration::from_secs(10);

impl State {
    /// Whether a device is a gateway. One that is an edge as well stays an edge, and an operator is
    /// told.
    pub(super) fn is_gateway(&mut self, link: &Link) -> bool {
        let is_edge = self.config.edges.matches(&link.name);
        let is_gateway = self.config.gateway.matches(&link.name);
        let name = escape(&link.name);
        let what = (is_edge && is_gateway).then(|| {
            format!(
                "{name} is in `[gateway] interfaces` and in `[edges]`: it is guarded as the edge of \
                 its container or VM, and tenants behind it are not told by their addresses. XDP \
                 there would hide whose sockets packets come from, so take it out of one of the two"
            )
        });
        self.warn(About::Gateway(link.ifindex), what);
        is_gateway && !is_edge
    }

    /// Attaches the program at a gateway.
    pub(super) fn guard_gateway(&mut self, link: &Link) {
        let kernel = &mut self.kernel;
        let layer = devices::link_layer(link);
        let done = kernel
            .registry
            .lead_shared(link.ifindex, layer, ROLE_GATEWAY)
            .and_then(|()| {
                let mode = self.config.gateway.mode;
                kernel.hooks.attach_gateway(link.ifindex, &link.name, mode)
            });
        if done.is_err() {
            self.release(link.ifindex);
        }
        let what = done.err().map(|error| {
            format!(
                "{} is not guarded as a gateway, so nothing that enters there is counted or \
                 refused: {:#}",
                escape(&link.name),
                anyhow::Error::from(error)
            )
        });
        self.warn(About::Device(link.ifindex), what);
    }

    /// Tries gateways again that could not be attached, and tells if there are none at all.
    pub(super) fn look_after_gateways(&mut self) {
        let gateways: Vec<u32> = self
            .devices
            .links()
            .filter(|link| self.config.gateway.matches(&link.name))
            .map(|link| link.ifindex)
            .collect();
        let known = self.devices.links().next().is_some();
        let missing = self.config.gateway.is_used() && known && gateways.is_empty();
        self.warn(
            About::Gateways,
            missing.then(|| {
                "no interface of this host fits `[gateway] interfaces`: nothing is counted by \
                 address until one of that name appears (`ip link` lists what there is)"
                    .to_owned()
            }),
        );
        let now = Instant::now();
        if self
            .devices
            .gateways_tried
            .is_some_and(|tried| now < tried + AGAIN)
        {
            return;
        }
        self.devices.gateways_tried = Some(now);
        let attached = self.kernel.hooks.devices();
        let waiting: Vec<u32> = gateways
            .into_iter()
            .filter(|ifindex| !attached.contains_key(ifindex))
            .collect();
        self.look_at(waiting);
    }

    /// The source that an operator means by an address or a network.
    pub(super) fn prefix_meant(&self, net: IpNet) -> Result<IpNet, RequestError> {
        let gateway = &self.config.gateway;
        if !gateway.is_used() {
            return Err(RequestError::BadRequest {
                reason:
                    "addresses are sources only where tenants' traffic enters, and this host has \
                         no `[gateway] interfaces`: name the user, container or interface instead"
                        .to_owned(),
            });
        }
        gateway.source_of(net).map_err(|bits| RequestError::BadRequest {
            reason: format!(
                "`addr:{net}` is no source: gateways tell networks of /{bits} apart (`[gateway] \
                 ipv4_prefix` and `ipv6_prefix`). Name one address, or its /{bits}"
            ),
        })
    }

    /// Makes a prefix lead to the source of that name, if it is one of a prefix.
    pub(super) fn lead_address(&mut self, name: &SourceName, id: u32) -> Result<(), KernelError> {
        match name.address() {
            Some(net) => self.kernel.registry.lead(Identity::Addr(net), id),
            None => Ok(()),
        }
    }
}

impl SourceName {
    /// The prefix that a source is.
    fn address(&self) -> Option<IpNet> {
        if self.kind != Kind::Addr {
            return None;
        }
        let address = || self.name.parse().ok().map(|ip: std::net::IpAddr| ip.into());
        self.name.parse().ok().or_else(address)
    }
}
