//! What `--json` prints, written down a second time on purpose: if a field is renamed, operators'
//! scripts break, and so must the tests.

use std::collections::BTreeMap;

use serde::Deserialize;

/// An element of `sources --json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Source {
    /// `kind:name`.
    pub source: String,
    /// `user`, `container`, `iface`, `addr`.
    pub kind: String,
    /// The name alone.
    pub name: String,
    /// Source id in the kernel.
    pub id: Option<u32>,
    /// The rule that exempts it.
    pub exempt: Option<String>,
    /// Whose it is.
    pub tenant: Option<Tenant>,
    /// Counters by class.
    pub classes: BTreeMap<String, Totals>,
    /// The gravest verdict in force.
    pub verdict: Option<String>,
}

/// Whose a source is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Tenant {
    /// The customer.
    pub customer: String,
    /// His package.
    pub package: Option<String>,
    /// Whom to write to.
    pub contact: Option<String>,
}

/// Counters of a source in one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Totals {
    /// Connections tried.
    pub attempts: u64,
    /// Attempts refused.
    pub denied: u64,
    /// Attempts that enforce mode would have refused.
    pub would_deny: u64,
    /// First contacts with a destination.
    pub destinations: u64,
    /// SYNs seen again.
    pub retransmits: u64,
    /// Attempts that the other side accepted.
    pub established: u64,
    /// Attempts that the other side refused.
    pub refused: u64,
    /// Attempts that nobody answered.
    pub timed_out: u64,
    /// Attempts sent to the smarthost instead.
    pub redirected: u64,
    /// Bytes of payload sent.
    pub bytes: u64,
    /// Replies of mail servers.
    pub replies: Replies,
    /// Messages that mail servers were ready to take.
    pub messages: u64,
    /// Connections that turned to TLS.
    pub encrypted: u64,
    /// Connections that went on without TLS.
    pub plain: u64,
    /// How long connections were open, milliseconds.
    pub open_ms: u64,
}

/// Replies of mail servers by their first digit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Replies {
    /// Done.
    #[serde(rename = "2xx")]
    pub ok: u64,
    /// Go on.
    #[serde(rename = "3xx")]
    pub more: u64,
    /// Not now.
    #[serde(rename = "4xx")]
    pub later: u64,
    /// No.
    #[serde(rename = "5xx")]
    pub never: u64,
}

/// A mail server's reply that says no.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Reply {
    /// Class.
    pub class: String,
    /// The server.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// The address that it was sent to.
    pub client: Option<String>,
    /// The address that the server saw.
    pub sent_from: Option<String>,
    /// First line.
    pub text: String,
}

/// `status --json`, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Status {
    /// Process id of the daemon.
    pub pid: u32,
    /// `observe` or `enforce`.
    pub mode: String,
    /// When the configuration in force was loaded.
    pub config_loaded: String,
    /// Hooks that are attached.
    pub hooks: Vec<String>,
    /// Whether a running guard was taken over.
    pub adopted: bool,
    /// What the programs count about themselves.
    pub kernel: BTreeMap<String, u64>,
    /// Events that the daemon took in.
    pub events_received: u64,
    /// Processes behind attempts, by whether they were seen.
    pub processes: BTreeMap<String, u64>,
    /// How full the kernel's tables are.
    pub tables: BTreeMap<String, TableUse>,
    /// Addresses that mail is sent from.
    pub sending: Vec<SendingAddress>,
    /// What is wrong.
    pub warnings: Vec<String>,
}

impl Status {
    /// What the programs count under this name.
    pub fn counted(&self, name: &str) -> u64 {
        self.kernel.get(name).copied().unwrap_or_default()
    }
}

/// An address that mail is sent from, and its risk.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SendingAddress {
    /// The address or network.
    pub sent_from: Option<String>,
    /// `calm`, `raised` or `danger`.
    pub level: String,
    /// All points.
    pub risk: f64,
    /// Points of replies that said no.
    pub rejections: f64,
    /// Points of providers' words.
    pub words: f64,
    /// Whether it is on a blacklist.
    pub listed: bool,
}

/// How full a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct TableUse {
    /// Entries there are.
    pub used: u64,
    /// Entries there is room for.
    pub capacity: u64,
    /// How often there was no room.
    pub refused: u64,
}

/// An element of `events --json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// `kind:name`.
    pub source: String,
    /// Class.
    pub class: String,
    /// `pass`, `deny`, `would-deny`.
    pub decision: String,
    /// `connect4`, `connect6`, `edge`.
    pub hook: String,
    /// Destination address.
    pub dst: String,
    /// Destination port.
    pub dport: u16,
    /// Process, where a hook could know it.
    pub process: Option<Process>,
}

impl Event {
    /// Process id, where a hook could know it.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.pid)
    }
}

/// The process behind an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Name.
    pub comm: String,
    /// The program's file.
    pub program: Option<String>,
    /// Its command line.
    pub command_line: Option<String>,
    /// Its working directory.
    pub directory: Option<String>,
    /// The script it runs.
    pub script: Option<String>,
    /// Who started it.
    pub parent: Option<Parent>,
}

/// A process's parent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Parent {
    /// Process id.
    pub pid: u32,
    /// Its command line.
    pub command_line: String,
}

/// An element of `verdicts --json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Verdict {
    /// Against whom.
    pub source: String,
    /// In which class.
    pub class: String,
    /// What is done.
    pub action: String,
    /// The rule, or none when an operator ordered it.
    pub rule: Option<String>,
    /// Who ordered it.
    pub by: String,
    /// The rate, of actions that have one.
    pub limit: Option<Limit>,
    /// An operator's reason.
    pub reason: Option<String>,
    /// `observe` or `enforce`.
    pub mode: String,
    /// What it rests on.
    pub observations: Vec<Observation>,
    /// Attempts from around that time.
    pub events: Vec<Event>,
}

/// A rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Limit {
    /// Connections at once.
    pub burst: u64,
    /// Nanoseconds between two in the long run.
    pub interval_ns: u64,
}

/// One observation a verdict rests on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Observation {
    /// What was measured.
    pub what: String,
    /// Its value.
    pub value: f64,
    /// The rule's limit.
    pub limit: f64,
    /// The window, seconds.
    pub window_seconds: u64,
}

/// A container, as its engine knows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Container {
    /// The engine.
    pub engine: String,
    /// The engine's id for it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: Option<String>,
    /// Its compose project.
    pub project: Option<String>,
    /// Its service there.
    pub service: Option<String>,
}

/// An element of `verdicts --audit --json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Order {
    /// Who: `uid:0`, `signal`, `daemon`.
    pub by: String,
    /// What: `block`, `reload`, …
    pub what: String,
    /// Whom it was about.
    pub source: Option<String>,
    /// What exactly.
    pub detail: Option<String>,
    /// An operator's reason.
    pub reason: Option<String>,
    /// Why nothing came of it.
    pub error: Option<String>,
}

/// `show SOURCE --json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Detail {
    /// As in the list.
    #[serde(flatten)]
    pub summary: Source,
    /// Kernel identities that lead to the source.
    pub identities: Vec<String>,
    /// The containers that lead to it.
    pub containers: Vec<Container>,
    /// Its verdicts, newest first.
    pub verdicts: Vec<Verdict>,
    /// Its last attempts, newest first.
    pub events: Vec<Event>,
    /// Replies that said no to it, newest first.
    pub replies: Vec<Reply>,
}

/// What `policy replay` says.
#[derive(Clone, Debug, Deserialize)]
pub struct Replayed {
    /// Under the policy that is tried.
    pub candidate: Tried,
    /// Under the one it is compared to.
    pub against: Tried,
}

/// Whom a policy would have hit.
#[derive(Clone, Debug, Deserialize)]
pub struct Tried {
    /// One after the other.
    pub hits: Vec<Hit>,
}

/// Somebody whom a rule would have hit.
#[derive(Clone, Debug, Deserialize)]
pub struct Hit {
    /// The source.
    pub source: String,
    /// In which class.
    pub class: String,
    /// The rule.
    pub rule: String,
    /// What would have been done.
    pub action: String,
}
