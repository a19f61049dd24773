//! A host, a world to connect to, and a place for everything else a test makes.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Result, anyhow, ensure};
use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::{
    cgroup::Subtree,
    client::{self, Client},
    feature::TCX,
    netns::Netns,
    place::Place,
    process::run,
    sink::Sink,
    sweep,
    users::User,
    wait::SOON,
};

/// What the world answers on: RFC 2544's range for benchmarks.
pub const WORLD: &str = "198.18.0.0/15";
/// What the world answers on in IPv6: a part of RFC 3849's range for documentation.
pub const WORLD6: &str = "2001:db8:1::/64";
/// The ports that the sink listens on, and one that nobody guards.
pub const PORTS: [u16; 5] = [25, 465, 587, 2525, UNGUARDED_PORT];
/// The host's interface to the world.
pub const UPLINK: &str = "world0";
/// A port that is not in the configuration.
pub const UNGUARDED_PORT: u16 = 8080;

/// One test's host and world; everything is gone when it is dropped.
#[derive(Debug)]
pub struct Lab {
    // Dropped first: it ends all processes of the test.
    cgroups: Subtree,
    host: Netns,
    world: Netns,
    pins: PathBuf,
    client: PathBuf,
    dir: TempDir,
}

impl Lab {
    /// Builds the host and the world, connected and without any listener.
    ///
    /// # Errors
    /// When this is not run by root, or the kernel refuses something.
    pub fn new() -> Result<Self> {
        static PREPARED: OnceLock<Result<(), String>> = OnceLock::new();
        ensure!(
            geteuid().is_root(),
            "these tests make network namespaces and load BPF programs: run them as root"
        );
        PREPARED
            .get_or_init(|| sweep::prepare().map_err(|error| format!("{error:#}")))
            .clone()
            .map_err(|error| anyhow!("cannot clear away an earlier test run: {error}"))?;
        let unique = sweep::unique();
        let dir = sweep::temporary(&unique)?;
        // Other users start the client from here and try the control socket.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        let (host, world) = connected()?;
        Ok(Self {
            cgroups: Subtree::new(&sweep::cgroup_name(&unique))?,
            host,
            world,
            pins: sweep::pins(&unique),
            client: client::publish(&client::built("fg-client")?, dir.path())?,
            dir,
        })
    }

    /// The namespace the daemon takes for the host.
    pub fn host(&self) -> &Netns {
        &self.host
    }

    /// The namespace of everybody else's mail servers.
    pub fn world(&self) -> &Netns {
        &self.world
    }

    /// The test's cgroups.
    pub fn cgroups(&self) -> &Subtree {
        &self.cgroups
    }

    /// The test's files; everybody may look into it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the daemon pins.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Leaves as much of a guard in the kernel as a reboot does: nothing. The daemon must have ended.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn reboot(&self) -> Result<()> {
        fs::remove_dir_all(&self.pins)?;
        if !TCX.is_there()? {
            // Filters outlive their pins.
            let mut tc = Place::default().netns(&self.host).command("tc")?;
            tc.args(["qdisc", "del", "dev", UPLINK, "clsact"]);
            run(&mut tc, SOON)?.expect_code(0)?;
        }
        Ok(())
    }

    /// Waits until host and world speak IPv6 with each other.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn await_ipv6(&self) -> Result<()> {
        self.host.await_ipv6(UPLINK)?;
        self.world.await_ipv6(UPLINK)
    }

    /// Starts a sink in the world on all of [`PORTS`].
    ///
    /// # Errors
    /// When a port is in use.
    pub fn sink(&self) -> Result<Sink> {
        Sink::start(&self.world, &PORTS)
    }

    /// The same, but it takes a mail over each connection.
    ///
    /// # Errors
    /// When a port is in use.
    pub fn mail_sink(&self) -> Result<Sink> {
        Sink::of_mail(&self.world, &PORTS)
    }

    /// A place on the host, in the cgroup of that name.
    ///
    /// # Errors
    /// When the cgroup cannot be made.
    pub fn place(&self, cgroup: &str) -> Result<Place> {
        Ok(Place::default()
            .netns(&self.host)
            .cgroup(&self.cgroups.child(cgroup)?))
    }

    /// A client on the host, run by a user.
    ///
    /// # Errors
    /// When its cgroup cannot be made.
    pub fn client(&self, user: User) -> Result<Client> {
        Ok(self.client_in(self.place("users")?.user(user)))
    }

    /// The client's program, which every user may run.
    pub fn client_program(&self) -> &Path {
        &self.client
    }

    /// A client elsewhere.
    pub fn client_in(&self, place: Place) -> Client {
        Client::new(&self.client, place)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // What is pinned would go on counting; what is not there need not be removed. The
        // directory does not exist when the test removed it or never started a daemon.
        fs::remove_dir_all(&self.pins).ok();
    }
}

/// Two namespaces with a link, each the other's gateway; the world answers on all its addresses.
fn connected() -> Result<(Netns, Netns)> {
    let (host, world) = (Netns::new()?, Netns::new()?);
    host.sysctl("net/ipv4/ip_forward", "1")?;
    host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    host.ip(&[
        format!(
            "link add world0 type veth peer name world0 netns {}",
            world.path()
        ),
        "addr add 100.64.0.1/30 dev world0".to_owned(),
        "addr add fd00:64::1/64 dev world0".to_owned(),
        "link set world0 up".to_owned(),
    ])?;
    world.ip(&[
        "addr add 100.64.0.2/30 dev world0".to_owned(),
        "addr add fd00:64::2/64 dev world0".to_owned(),
        "link set world0 up".to_owned(),
        "route add default via 100.64.0.1".to_owned(),
        "route add default via fd00:64::1".to_owned(),
        // AnyIP: packets to these are for this host, though no interface has the address.
        format!("route add local {WORLD} dev lo"),
        format!("route add local {WORLD6} dev lo"),
    ])?;
    host.ip(&[
        "route add default via 100.64.0.2".to_owned(),
        "route add default via fd00:64::2".to_owned(),
    ])?;
    Ok((host, world))
}
