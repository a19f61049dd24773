//! Who connects all the time, and what each of them is to find.

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    client::{Client, Outcome, Running},
    container::Container,
    lab::Lab,
    users::User,
    wait::{SOON, until},
};

/// A container and the end of its link.
pub(crate) const WEB: (&str, &str) = ("container:web", "fge0");
/// A user who is blocked.
pub(crate) const BLOCKED: (&str, &str) = ("games", "user:games");
/// Destinations: enough that a pair of ends does not come again while the kernel remembers it.
const WORLD: [&str; 1] = ["198.18.0.1-198.18.15.255"];
/// More than there is time for.
const ENDLESS: u64 = u64::MAX;

/// A tenant and what it did.
pub(crate) struct Tenant {
    /// Its source.
    pub(crate) source: &'static str,
    /// What it is there for.
    pub(crate) part: &'static str,
    /// It is to be refused, always.
    pub(crate) blocked: bool,
    running: Running,
}

/// All of them. The loads begin first.
pub(crate) fn start(lab: &Lab, web: &Container<'_>) -> Result<Vec<Tenant>> {
    let user = |name| -> Result<Client> { Ok(lab.client(User::named(name)?)?.to(&WORLD)) };
    let tenant = |source, part, blocked, client: Client| -> Result<Tenant> {
        Ok(Tenant {
            source,
            part,
            blocked,
            running: client.count(ENDLESS).start()?,
        })
    };
    Ok(vec![
        tenant(
            "user:www-data",
            "load at the connect hook",
            false,
            user("www-data")?,
        )?,
        tenant(
            WEB.0,
            "load at the edge alone",
            false,
            web.hidden_client().to(&WORLD),
        )?,
        tenant(
            "user:backup",
            "free probe",
            false,
            user("backup")?.per_second(PROBES),
        )?,
        tenant(
            BLOCKED.1,
            "blocked probe",
            true,
            user(BLOCKED.0)?.per_second(PROBES),
        )?,
    ])
}

/// Connections a second of each probe.
const PROBES: u32 = 200;

impl Tenant {
    /// Stops it.
    pub(crate) fn stop(self) -> Result<Outcome> {
        let Self {
            source, running, ..
        } = self;
        running.stop().with_context(|| source.to_owned())
    }
}

/// Keeps the kernel from remembering every connection that was closed: it would soon refuse new
/// ones.
pub(crate) fn forget_closed(lab: &Lab, web: &Container<'_>) -> Result<()> {
    for (name, value) in [
        ("net/ipv4/tcp_max_tw_buckets", "1000"),
        ("net/ipv4/ip_local_port_range", "1024 65000"),
    ] {
        lab.host().sysctl(name, value)?;
        lab.world().sysctl(name, value)?;
        web.netns().sysctl(name, value)?;
    }
    Ok(())
}

/// Waits until the sink has counted as many as connected.
pub(crate) fn settle(sink: &flowguard_tests::sink::Sink, connected: u64) -> Result<u64> {
    until("the sink to see all connections", SOON, || {
        let seen = sink.accepted();
        ensure!(seen >= connected, "{seen} of {connected}");
        Ok(seen)
    })
}
