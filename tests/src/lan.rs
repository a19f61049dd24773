//! Customers of a router: a network behind the host with many addresses, of which the host knows
//! nothing but the addresses.

use std::{
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::{
    bypass_raw::Report,
    client::{self, Client},
    container::GATEWAY_MAC,
    lab::Lab,
    netns::Netns,
    place::Place,
    process::Job,
    wait::SOON,
};

/// The customers' addresses.
pub const LAN: &str = "10.80.0.0/16";
/// The same in IPv6: a part of RFC 3849's range for documentation.
pub const LAN6: &str = "2001:db8:80::/48";
/// More than the forging program takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The network; its link goes when it is dropped.
#[derive(Debug)]
pub struct Lan<'lab> {
    lab: &'lab Lab,
    netns: Netns,
    interface: String,
    forge: PathBuf,
}

impl<'lab> Lan<'lab> {
    /// Customers behind `interface` of the host.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub fn new(lab: &'lab Lab, interface: &str) -> Result<Self> {
        let lan = Self {
            lab,
            netns: Netns::new()?,
            interface: interface.to_owned(),
            forge: client::publish(&client::built("fg-bypass-raw")?, lab.dir())?,
        };
        // No interface has the addresses, which IPv6 minds even if they are routed here.
        lan.netns.sysctl("net/ipv6/ip_nonlocal_bind", "1")?;
        lan.link()?;
        Ok(lan)
    }

    /// Makes the link.
    ///
    /// # Errors
    /// When it is there.
    pub fn link(&self) -> Result<()> {
        let Self {
            interface, netns, ..
        } = self;
        self.lab.host().ip(&[
            format!(
                "link add {interface} address {GATEWAY_MAC} type veth peer name eth0 netns {}",
                netns.path()
            ),
            format!("addr add 10.79.0.1/30 dev {interface}"),
            format!("addr add fd00:79::1/64 dev {interface}"),
            format!("link set {interface} up"),
        ])?;
        netns.ip(&[
            "addr add 10.79.0.2/30 dev eth0".to_owned(),
            "addr add fd00:79::2/64 dev eth0".to_owned(),
            "link set eth0 up".to_owned(),
            "route add default via 10.79.0.1".to_owned(),
            "route add default via fd00:79::1".to_owned(),
            // AnyIP: packets to these are for this host, though no interface has the address.
            format!("route replace local {LAN} dev lo"),
            format!("route replace local {LAN6} dev lo"),
        ])?;
        self.lab.host().ip(&[
            format!("route add {LAN} via 10.79.0.2"),
            format!("route add {LAN6} via fd00:79::2"),
        ])
    }

    /// Deletes the link.
    ///
    /// # Errors
    /// When it is not there.
    pub fn unlink(&self) -> Result<()> {
        self.lab
            .host()
            .ip(&[format!("link del {}", self.interface)])
    }

    /// The host's end of the link.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// A client that connects from these addresses in turn.
    pub fn client(&self, from: &[&str]) -> Client {
        let place = Place::default().netns(&self.netns);
        self.lab.client_in(place).from(from)
    }

    /// An open connection from one of the addresses.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn connect(&self, from: &str, to: &str) -> Result<TcpStream> {
        let (from, to) = (
            SocketAddr::new(from.parse()?, 0),
            SocketAddr::new(to.parse()?, 25),
        );
        self.netns.enter(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.bind(&from.into())?;
            socket.connect_timeout(&to.into(), SOON)?;
            Ok(socket.into())
        })
    }

    /// The customers' network namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Starts the forging program with arguments separated by spaces.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_forging(&self, way: &str) -> Result<Job> {
        let mut command = Place::default().netns(&self.netns).command(&self.forge)?;
        Job::start(command.args(way.split(' ')))
    }

    /// Runs it, and checks how many SYNs were sent, and how many of them answered.
    ///
    /// # Errors
    /// When they are others.
    pub fn forge(&self, way: &str, sent: u64, answered: u64) -> Result<()> {
        let finished = self.start_forging(way)?.finish(PATIENCE)?.expect_code(0)?;
        let report: Report =
            serde_json::from_str(&finished.stdout).with_context(|| finished.to_string())?;
        ensure!(
            (report.sent, report.answered) == (sent, answered),
            "expected {answered} of {sent} SYNs answered by `{way}`: {report:?}"
        );
        Ok(())
    }
}

impl Drop for Lan<'_> {
    fn drop(&mut self) {
        // Fails when the test already deleted the link.
        self.unlink().ok();
    }
}
