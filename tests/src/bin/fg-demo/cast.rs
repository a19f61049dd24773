//! The three tenants, and what each of them does.

use std::{os::unix::fs::symlink, time::Duration};

use anyhow::Result;
use flowguard_tests::{
    client::{Client, Running},
    container::Container,
    guard::Guard,
    lab::Lab,
};

/// The server that is trusted with any mail.
pub(crate) const RELAY: &str = "198.19.0.25";

/// Long enough for a busy machine; what is refused is refused at once.
const PATIENCE: Duration = Duration::from_secs(3);

/// A tenant's part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role {
    /// Name of its container.
    pub(crate) name: &'static str,
    /// What it does, in words.
    pub(crate) does: &'static str,
    /// The host side of its link.
    interface: &'static str,
    /// Name of the program that does it.
    program: &'static str,
    /// The class that its connections are of.
    pub(crate) class: &'static str,
    /// Where its mail goes.
    to: &'static str,
    /// Connections it tries.
    pub(crate) count: u64,
    /// Connections it begins each second.
    per_second: u32,
    /// When it enters.
    pub(crate) enters: Duration,
    /// Whether it is to be left alone.
    pub(crate) innocent: bool,
}

/// In order of appearance. The site that was hacked is the slower of the two busy ones: what
/// gives it away is to how many servers it talks.
pub(crate) const CAST: [Role; 3] = [
    Role {
        name: "contact-form",
        does: "a mail a second, to 3 mail servers in turn",
        interface: "fge0",
        program: "contact.php",
        class: "direct",
        to: "198.18.1.1-198.18.1.3",
        count: 12,
        per_second: 1,
        enters: Duration::ZERO,
        innocent: true,
    },
    Role {
        name: "newsletter",
        does: "900 mails, 100 a second, all to the trusted relay",
        interface: "fge1",
        program: "newsletter",
        class: "relay",
        to: RELAY,
        count: 900,
        per_second: 100,
        enters: Duration::from_millis(1_500),
        innocent: true,
    },
    Role {
        name: "hacked-site",
        does: "spam, 30 a second, to 200 mail servers directly",
        interface: "fge2",
        program: "wp-cache.php",
        class: "direct",
        to: "198.18.100.1-198.18.100.200",
        count: 200,
        per_second: 30,
        enters: Duration::from_millis(3_500),
        innocent: false,
    },
];

impl Role {
    /// How flowguard names it.
    pub(crate) fn source(&self) -> String {
        format!("container:{}", self.name)
    }
}

/// A tenant: its role and its container.
#[derive(Debug)]
pub(crate) struct Tenant<'lab> {
    pub(crate) role: Role,
    container: Container<'lab>,
    client: Client,
}

impl<'lab> Tenant<'lab> {
    /// Makes the container; nothing is sent yet.
    pub(crate) fn new(lab: &'lab Lab, role: Role) -> Result<Self> {
        let container = Container::new(lab, role.name, role.interface)?;
        // A process is named after the link that it is started by.
        let program = lab.dir().join(role.program);
        symlink(lab.client_program(), &program)?;
        let client = container
            .client()
            .program(&program)
            .to(&[role.to])
            .count(role.count)
            .per_second(role.per_second)
            .mail()
            .timeout(PATIENCE);
        Ok(Self {
            role,
            container,
            client,
        })
    }

    /// Waits until the guard knows it.
    pub(crate) fn known_to(&self, guard: &Guard<'_>) -> Result<()> {
        let interface = self.container.interface();
        guard.await_edge(interface)?;
        guard.await_identity(&self.role.source(), &format!("edge {interface}"))
    }

    /// Begins to send.
    pub(crate) fn enter(&self) -> Result<Running> {
        self.client.start()
    }
}
