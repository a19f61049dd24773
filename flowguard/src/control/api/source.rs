//! Sources, and what was seen of them.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::verdict::VerdictRecord;
use crate::identity::{mapping::Tenant, names::Container, process::Details};
use crate::model::{ClassName, Totals};

/// An element of `GET /v1/sources`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// `kind:name`, unescaped.
    pub source: String,
    /// `user`, `container`, `iface`, `addr`.
    pub kind: String,
    /// The name alone, unescaped.
    pub name: String,
    /// Source id in the kernel; none: not registered yet.
    pub id: Option<u32>,
    /// Exempt by a rule of the configuration; the rule's name.
    pub exempt: Option<String>,
    /// Whose it is, by the table of customers.
    #[serde(default)]
    pub tenant: Option<Tenant>,
    /// Counters by class.
    pub classes: BTreeMap<ClassName, Totals>,
    /// Time of the last attempt.
    pub last_seen: Option<Timestamp>,
    /// The gravest verdict in force, as [`super::ActionName`] is written.
    pub verdict: Option<String>,
}

/// One attempt as evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// Whose, `kind:name`, unescaped.
    pub source: String,
    /// Which class.
    pub class: ClassName,
    /// `pass`, `deny`, `would-deny` or `redirect`.
    pub decision: String,
    /// `connect4`, `connect6`, `edge`, `gateway`, or `uplink` for strays.
    pub hook: String,
    /// Destination address.
    pub dst: std::net::IpAddr,
    /// Destination port.
    pub dport: u16,
    /// Process, where a hook could know it.
    pub process: Option<Process>,
}

/// A mail server's reply that says no.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// When.
    pub time: Timestamp,
    /// Which class the connection is of.
    pub class: ClassName,
    /// The server.
    pub server: std::net::IpAddr,
    /// Its port.
    pub port: u16,
    /// The address that it was sent to, on this host or in the container; none: it was not noted.
    #[serde(default)]
    pub client: Option<std::net::IpAddr>,
    /// The address that the server saw; none: it is not known.
    #[serde(default)]
    pub sent_from: Option<std::net::IpAddr>,
    /// First line of the reply, at most 200 bytes, unescaped; the local parts of addresses are
    /// replaced by an ellipsis.
    pub text: String,
}

/// The process behind an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Name of the thread, unescaped.
    pub comm: String,
    /// What it was when it was looked at, right after the attempt; empty: it was gone.
    #[serde(flatten, default)]
    pub details: Arc<Details>,
}

/// A container, as its engine knows it. All of it is unescaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerInfo {
    /// The engine, by the name of its section `[[container]]`.
    pub engine: String,
    /// The engine's id for it.
    pub id: String,
    /// What the engine says.
    #[serde(flatten)]
    pub container: Container,
}

/// `GET /v1/sources/{source}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceDetail {
    /// As in the list.
    #[serde(flatten)]
    pub summary: Source,
    /// Kernel identities that lead to the source: `uid 1001`, `cgroup 4711 /docker/…`,
    /// `netns 17`, `edge veth0`.
    pub identities: Vec<String>,
    /// The containers that lead to it, as their engines know them.
    #[serde(default)]
    pub containers: Vec<ContainerInfo>,
    /// Its verdicts, newest first, past ones included.
    pub verdicts: Vec<VerdictRecord>,
    /// Its last attempts, newest first.
    pub events: Vec<Event>,
    /// Replies that said no to it, newest first.
    #[serde(default)]
    pub replies: Vec<Reply>,
}

/// A line of `GET /v1/events?follow=true`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FollowLine {
    /// The next event.
    Event(Event),
    /// The reader was too slow.
    Missed {
        /// How many events it did not get.
        missed: u64,
    },
}
