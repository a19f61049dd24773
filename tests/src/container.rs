//! A network namespace behind a veth, with a cgroup and a process that holds both: what a
//! container is to the guard.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Result;

use crate::{client::Client, lab::Lab, netns::Netns, place::Place, process::Job};

/// Hardware address of every container's gateway, for frames that no kernel made.
pub const GATEWAY_MAC: &str = "02:00:00:00:00:01";

/// A container; its processes and its link go when it is dropped.
#[derive(Debug)]
pub struct Container<'lab> {
    lab: &'lab Lab,
    netns: Netns,
    cgroup: PathBuf,
    interface: String,
    /// Its number, part of its addresses.
    number: u32,
    _init: Job,
}

impl<'lab> Container<'lab> {
    /// A container that the configuration of [`crate::config::Config`] recognises by its cgroup
    /// `ct-NAME`; `interface` is the host side of its veth. As with a real engine, its first
    /// process runs before it gets its link.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub fn new(lab: &'lab Lab, name: &str, interface: &str) -> Result<Self> {
        Self::in_cgroup(lab, &format!("ct-{name}"), interface)
    }

    /// A namespace that only its interface tells from others.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub fn unmanaged(lab: &'lab Lab, interface: &str) -> Result<Self> {
        Self::in_cgroup(lab, "unmanaged", interface)
    }

    fn in_cgroup(lab: &'lab Lab, cgroup: &str, interface: &str) -> Result<Self> {
        static NUMBERS: AtomicU32 = AtomicU32::new(0);
        let netns = Netns::new()?;
        let cgroup = lab.cgroups().child(cgroup)?;
        let place = Place::default().netns(&netns).cgroup(&cgroup);
        let container = Self {
            lab,
            netns,
            cgroup,
            interface: interface.to_owned(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed) % 250 + 1,
            _init: Job::start(place.command("sleep")?.arg("infinity"))?,
        };
        container.link()?;
        Ok(container)
    }

    /// Makes the veth.
    ///
    /// # Errors
    /// When it is there.
    pub fn link(&self) -> Result<()> {
        let Self {
            interface: veth,
            number: n,
            netns,
            ..
        } = self;
        self.lab.host().ip(&[
            format!(
                "link add {veth} address {GATEWAY_MAC} type veth peer name eth0 netns {}",
                netns.path()
            ),
            format!("addr add 10.77.{n}.1/24 dev {veth}"),
            format!("addr add fd00:77:{n}::1/64 dev {veth}"),
            format!("link set {veth} up"),
        ])?;
        netns.ip(&[
            format!("addr add 10.77.{n}.2/24 dev eth0"),
            format!("addr add fd00:77:{n}::2/64 dev eth0"),
            "link set eth0 up".to_owned(),
            format!("route add default via 10.77.{n}.1"),
            format!("route add default via fd00:77:{n}::1"),
        ])
    }

    /// Waits until both ends of the veth speak IPv6: the kernel may take a second to notice that
    /// they are connected (`linkwatch`), and who tries before loses a SYN.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn await_ipv6(&self) -> Result<()> {
        self.lab.host().await_ipv6(&self.interface)?;
        self.netns.await_ipv6("eth0")
    }

    /// Deletes the veth.
    ///
    /// # Errors
    /// When it is not there.
    pub fn unlink(&self) -> Result<()> {
        self.lab
            .host()
            .ip(&[format!("link del {}", self.interface)])
    }

    /// Name of the host side of its veth.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Its own address.
    pub fn address(&self) -> String {
        format!("10.77.{}.2", self.number)
    }

    /// The host's address on its link, the container's gateway.
    pub fn gateway(&self) -> String {
        format!("10.77.{}.1", self.number)
    }

    /// The same in IPv6.
    pub fn gateway6(&self) -> String {
        format!("fd00:77:{}::1", self.number)
    }

    /// Its network namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Where its processes run.
    pub fn place(&self) -> Place {
        Place::default().netns(&self.netns).cgroup(&self.cgroup)
    }

    /// A client that is one of the container's processes.
    pub fn client(&self) -> Client {
        self.lab.client_in(self.place())
    }

    /// A client in the container's network whose cgroup no program is attached to: to the guard
    /// it is what raw packets of the container's root are, seen at the edge only.
    pub fn hidden_client(&self) -> Client {
        self.lab.client_in(Place::default().netns(&self.netns))
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // Fails when the test already deleted the link.
        self.unlink().ok();
    }
}
