//! Verdicts, with what they rest on.

use flowguard_common::verdict::Rate;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::source::{Event, Reply};
use crate::model::{ClassName, Mode};

/// What a verdict does, from the mildest to the gravest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionName {
    /// Nothing is done; it is noted.
    Notice,
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
    /// Those that the kernel carries out, in the order of their gravity.
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
            Self::Notice => "notice",
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
    /// What was measured: `attempts`, `rejected-ratio`, …
    pub what: String,
    /// Its value within the window.
    #[serde(serialize_with = "number")]
    pub value: f64,
    /// The rule's limit.
    #[serde(serialize_with = "number")]
    pub limit: f64,
    /// Whether the value had to be at least or at most the limit.
    #[serde(default)]
    pub bound: Bound,
    /// Of a ratio: how much there was of what it is a share of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// The window, seconds.
    pub window_seconds: u64,
    /// The last part of it that was left out, seconds.
    #[serde(default)]
    pub before_seconds: u64,
}

/// On which side of its limit a value had to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// The limit or more.
    #[default]
    AtLeast,
    /// The limit or less.
    AtMost,
}

/// Writes a number that is whole as one.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn number<S: serde::Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    let whole = *value as u64;
    if whole as f64 == *value {
        serializer.serialize_u64(whole)
    } else {
        serializer.serialize_f64(*value)
    }
}

/// A step of a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepInfo {
    /// Which one, from 1.
    pub step: u32,
    /// Of how many.
    pub of: u32,
    /// The offence, from 1, against this rule; those that were forgiven do not count.
    pub offence: u32,
    /// It is one step further than the offence asks for, since the address it sends from is in
    /// danger and this source has its share in it.
    pub sooner: bool,
}

/// What the sequential test makes of a source.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// Natural logarithm of how many times likelier the outcomes are if the source is bad.
    pub log_ratio: f64,
    /// From here on it is called bad.
    pub limit: f64,
    /// Good outcomes since the test began afresh.
    pub good: u32,
    /// Bad ones.
    pub bad: u32,
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
    /// Which step of the rule's ladder it is; none: an operator ordered it.
    #[serde(default)]
    pub step: Option<StepInfo>,
    /// What the sequential test made of the source; none: it had seen no outcome.
    #[serde(default)]
    pub likelihood: Option<Likelihood>,
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
