//! What goes over the control socket, and what `--json` prints: the same types, so that the names
//! are stable and documented in one place.

use std::collections::BTreeMap;

use flowguard_common::verdict::Rate;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{ClassName, Mode, Totals};

/// Longest time an order may hold, seconds: ten years.
pub const MAX_ORDER_SECONDS: u64 = 10 * 365 * 86_400;
/// Longest reason of an order, bytes.
pub const MAX_REASON_BYTES: usize = 1_000;

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// Since when this daemon runs.
    pub started: Timestamp,
    /// The mode in force.
    pub mode: Mode,
    /// File the configuration came from; none: the embedded default.
    pub config: Option<String>,
    /// When the configuration in force was loaded.
    pub config_loaded: Timestamp,
    /// Where programs, links and maps are pinned.
    pub pins: String,
    /// Hooks that are attached: programs at the cgroup, and `edge NAME` for each edge device.
    pub hooks: Vec<String>,
    /// Whether this daemon found a running guard and took it over.
    pub adopted: bool,
    /// Registered sources.
    pub sources: u64,
    /// Sources there is room for.
    pub source_capacity: u64,
    /// Verdicts in force.
    pub verdicts: u64,
    /// Hosts that take redirected mail, `address:port`.
    #[serde(default)]
    pub smarthosts: Vec<String>,
    /// Attempts of all sources, by class.
    pub totals: BTreeMap<ClassName, Totals>,
    /// What the kernel programs count about themselves.
    pub kernel: BTreeMap<String, u64>,
    /// Events of the kernel that this daemon took in.
    pub events_received: u64,
    /// How full the kernel's tables are.
    pub tables: BTreeMap<String, TableUse>,
    /// What is wrong, in plain words; empty is well.
    pub warnings: Vec<String>,
}

/// How full a table of the kernel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableUse {
    /// Entries there are.
    pub used: u64,
    /// Entries there is room for.
    pub capacity: u64,
    /// How often this daemon wanted one more and there was no room; who asks again counts again.
    pub refused: u64,
}

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
    /// Counters by class.
    pub classes: BTreeMap<ClassName, Totals>,
    /// Time of the last attempt.
    pub last_seen: Option<Timestamp>,
    /// The gravest verdict in force, as [`ActionName`] is written.
    pub verdict: Option<String>,
}

/// What a verdict does, from the mildest to the gravest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionName {
    /// Everything passes.
    Allow,
    /// What goes to a new destination and exceeds a rate is refused.
    NewDestinations,
    /// What exceeds a rate is refused.
    Limit,
    /// New connections go to the smarthost.
    Redirect,
    /// New connections are refused.
    Block,
    /// New connections are refused, and packets of open ones dropped.
    Sever,
}

impl ActionName {
    /// All of them, in the order of their gravity.
    pub const ALL: [Self; 6] = [
        Self::Allow,
        Self::NewDestinations,
        Self::Limit,
        Self::Redirect,
        Self::Block,
        Self::Sever,
    ];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::NewDestinations => "new-destinations",
            Self::Limit => "limit",
            Self::Redirect => "redirect",
            Self::Block => "block",
            Self::Sever => "sever",
        }
    }

    /// Whether it comes with a rate.
    pub const fn has_rate(self) -> bool {
        matches!(self, Self::Limit | Self::NewDestinations)
    }
}

impl std::fmt::Display for ActionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// One observation a verdict rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// What was measured: `attempts`, `destinations`, …
    pub what: String,
    /// Its value within the window.
    pub value: u64,
    /// The rule's limit that it reached.
    pub limit: u64,
    /// The window, seconds.
    pub window_seconds: u64,
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
}

/// A verdict with its explanation: an element of `GET /v1/verdicts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictRecord {
    /// Number of the record.
    pub record: u64,
    /// Against whom, `kind:name`, unescaped.
    pub source: String,
    /// In which class.
    pub class: ClassName,
    /// What is done.
    pub action: ActionName,
    /// The rule that asked for it, or none when an operator did.
    pub rule: Option<String>,
    /// The rate of a `limit` or of `new-destinations`.
    #[serde(default)]
    pub limit: Option<Limit>,
    /// Who ordered it: `policy`, `uid:0`.
    pub by: String,
    /// An operator's reason.
    pub reason: Option<String>,
    /// The mode in which it was made.
    pub mode: Mode,
    /// Since when.
    pub since: Timestamp,
    /// Until when; none: until somebody lifts it.
    pub until: Option<Timestamp>,
    /// When it was lifted or replaced before its time, and by whom.
    pub ended: Option<Ended>,
    /// What it rests on.
    pub observations: Vec<Observation>,
    /// Attempts from around that time.
    pub events: Vec<Event>,
    /// Replies from around that time.
    #[serde(default)]
    pub replies: Vec<Reply>,
}

/// A rate: so many at once, then one per interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Connections at once.
    pub burst: u64,
    /// Nanoseconds between two in the long run.
    pub interval_ns: u64,
}

impl From<Rate> for Limit {
    fn from(rate: Rate) -> Self {
        Self {
            burst: rate.burst,
            interval_ns: rate.interval_ns,
        }
    }
}

impl From<Limit> for Rate {
    fn from(limit: Limit) -> Self {
        Self {
            interval_ns: limit.interval_ns,
            burst: limit.burst,
        }
    }
}

/// How a verdict ended before its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// By whom or what.
    pub by: String,
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
    /// Its verdicts, newest first, past ones included.
    pub verdicts: Vec<VerdictRecord>,
    /// Its last attempts, newest first.
    pub events: Vec<Event>,
    /// Replies that said no to it, newest first.
    #[serde(default)]
    pub replies: Vec<Reply>,
}

/// `POST /v1/block`, `POST /v1/allow`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// Whom, as the operator typed it.
    pub source: String,
    /// What a block does; none: `block`. Anything but `allow`; `POST /v1/allow` has none.
    #[serde(default)]
    pub action: Option<ActionName>,
    /// The rate that still passes, of a `limit` or of `new-destinations`, and only of these.
    #[serde(default)]
    pub limit: Option<Limit>,
    /// Which classes; empty: direct and submission, of a `redirect` direct alone.
    #[serde(default)]
    pub classes: Vec<ClassName>,
    /// For how long, seconds, from 1 to [`MAX_ORDER_SECONDS`]; none: until lifted.
    #[serde(default)]
    pub seconds: Option<u64>,
    /// Why; at most [`MAX_REASON_BYTES`].
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST /v1/unblock`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnblockRequest {
    /// Whom; none: everybody.
    #[serde(default)]
    pub source: Option<String>,
}

/// Answer to `POST /v1/unblock`: the verdicts that were lifted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unblocked {
    /// The lifted verdicts.
    pub lifted: Vec<VerdictRecord>,
}

/// Answer to `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// File the configuration came from; none: the embedded default.
    pub config: Option<String>,
    /// What changed that takes effect only after a restart.
    pub needs_restart: Vec<String>,
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

/// Every answer with a status other than 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For programs.
    pub code: FailureCode,
    /// For people: what happened and what to do.
    pub message: String,
}

/// What sort of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureCode {
    /// The request makes no sense, as it is.
    BadRequest,
    /// Nobody of that name is known.
    NoSuchSource,
    /// The caller may not do that.
    Forbidden,
    /// The configuration was refused.
    BadConfig,
    /// The request did not arrive, or was not answered, in time.
    Timeout,
    /// The daemon failed; also any code of a newer daemon.
    #[serde(other)]
    Internal,
}

/// `flowguard check --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigReport {
    /// Whether the daemon would accept the configuration.
    pub valid: bool,
    /// File the configuration came from; none: the embedded default.
    pub config: Option<String>,
    /// The mode it asks for; none: not valid.
    pub mode: Option<Mode>,
    /// What is wrong with it; none: valid.
    pub error: Option<String>,
}

/// `flowguard doctor --json`: what this machine offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doctor {
    /// Release of the running kernel.
    pub kernel: String,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// The programs, if the kernel takes them.
    pub programs: Vec<ProgramCheck>,
}

/// A program that the kernel's verifier was asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramCheck {
    /// Its name.
    pub name: String,
    /// Whether there is no guard without it.
    pub required: bool,
    /// Instructions that the verifier walked through, of the million that it grants; none if this
    /// kernel does not tell.
    pub instructions: Option<u32>,
    /// Why the kernel does not take it; none: it does.
    pub refused: Option<String>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What: `cgroup2`, `bpffs`, `tcx`, …
    pub name: String,
    /// How it is.
    pub state: CheckState,
    /// What was found.
    pub detail: String,
    /// What to do about it, if something can be done.
    pub advice: Option<String>,
}

/// How well a [`Check`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// flowguard works, with less.
    Degraded,
    /// flowguard cannot work.
    Missing,
}
