//! The daemon as a whole.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::verdict::ActionName;
use crate::model::{ClassName, Mode, Totals};

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
    /// Processes behind attempts: `seen`, `gone` before they were looked at, `missed` since too many
    /// came at once.
    #[serde(default)]
    pub processes: BTreeMap<String, u64>,
    /// How full the kernel's tables are.
    pub tables: BTreeMap<String, TableUse>,
    /// What rules asked for since this daemon started, by action: what enforcement did, or in
    /// observe mode would have done.
    #[serde(default)]
    pub decided: BTreeMap<ActionName, Decided>,
    /// Addresses that mail is sent from, of which mail servers said something of late.
    #[serde(default)]
    pub sending: Vec<SendingAddress>,
    /// What is wrong, in plain words; empty is well.
    pub warnings: Vec<String>,
}

/// How often rules asked for an action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// How often.
    pub verdicts: u64,
    /// Of how many sources.
    pub sources: u64,
}

/// An address that mail is sent from, and how much danger it is in of being blacklisted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendingAddress {
    /// An IPv4 address, or an IPv6 network of 64 bits with its length; none: all those together of
    /// which nobody knows what mail servers see.
    pub sent_from: Option<String>,
    /// How grave that is.
    pub level: RiskLevel,
    /// Its risk, in points: the sum of the next three.
    pub risk: f64,
    /// Points of replies that said no.
    pub rejections: f64,
    /// Points of providers' words for a spammer.
    pub words: f64,
    /// Points of blacklists.
    pub listing: f64,
    /// Whether it is on a blacklist.
    pub listed: bool,
}

/// How grave a risk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RiskLevel {
    /// Less than half of what is danger.
    Calm,
    /// Half of what is danger, or more; or on a blacklist.
    Raised,
    /// `risk.danger` or more: those who brought it about climb their ladders sooner.
    Danger,
}

impl RiskLevel {
    /// As JSON has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Raised => "raised",
            Self::Danger => "danger",
        }
    }
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
