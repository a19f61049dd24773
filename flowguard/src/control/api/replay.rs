//! What `flowguard policy replay` says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::verdict::{ActionName, Observation};
use crate::model::ClassName;

/// `flowguard policy replay --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Where the past came from: a database or a log.
    pub from: String,
    /// What was looked at, and how finely it is known; oldest first.
    pub stretches: Vec<Stretch>,
    /// Sources that did something.
    pub sources: u64,
    /// Connections they tried.
    pub attempts: u64,
    /// What the candidate would have done.
    pub candidate: Tried,
    /// What the policy does that it is compared with.
    pub against: Tried,
    /// Those whom at least one of the two hits, by source and class.
    pub comparison: Vec<Comparison>,
    /// What could not be used.
    pub skipped: Skipped,
    /// What one should know before one believes this.
    pub notes: Vec<String>,
}

/// A part of the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Its beginning.
    pub since: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// Seconds between two moments that can be told apart: 3600 where only hours are kept, 60, or 1
    /// for logs.
    pub resolution_seconds: u32,
}

/// What a policy would have done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Its file; none: the built-in one.
    pub config: Option<String>,
    /// Whom it would have hit, in the order of time.
    pub hits: Vec<Hit>,
}

/// Somebody whom a rule fits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// When.
    pub at: Timestamp,
    /// Whom, `kind:name`, unescaped.
    pub source: String,
    /// In which class.
    pub class: ClassName,
    /// Which rule.
    pub rule: String,
    /// Which step of its ladder, from 1.
    pub step: u32,
    /// Of how many.
    pub of: u32,
    /// What would have been done.
    pub action: ActionName,
    /// For how long, seconds.
    pub seconds: u64,
    /// What it rests on.
    pub observations: Vec<Observation>,
}

/// A source in a class, under both policies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// `kind:name`, unescaped.
    pub source: String,
    /// In which class.
    pub class: ClassName,
    /// Whether both do the same, at the same time, by the same rule.
    pub same: bool,
    /// Under the candidate; none: it would have been left alone.
    pub candidate: Option<Judged>,
    /// Under the other policy; none: it is left alone.
    pub against: Option<Judged>,
}

/// What a policy does to a source in a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The first time.
    pub first: Timestamp,
    /// By which rule, then.
    pub rule: String,
    /// How often.
    pub hits: u64,
    /// The gravest action.
    pub gravest: ActionName,
}

/// Lines of a log, or rows of the history, that were not used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// Rows of the history that are damaged.
    pub damaged: u64,
    /// Lines that are no record of a connection.
    pub broken: u64,
    /// The first of them.
    pub broken_lines: Vec<SkippedLine>,
    /// Connections that stand more than an hour behind later ones.
    pub late: u64,
    /// The first of their lines.
    pub late_lines: Vec<u64>,
    /// Connections to ports that neither policy guards.
    pub other_ports: u64,
    /// Connections of others than the tenants: `--tenants`, or `local_orig` of Zeek.
    pub foreign: u64,
    /// Connections whose beginning was not seen, or that are not TCP.
    pub no_attempt: u64,
}

/// A line that is broken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkippedLine {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// `flowguard policy recommend --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// What sources did, and what limits that asks for.
    pub measured: Vec<Measured>,
    /// Rules with these limits, for the configuration file.
    pub toml: String,
}

/// The most that sources did within a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Of the sources of this package; none: of all.
    pub package: Option<String>,
    /// In which class.
    pub class: ClassName,
    /// `attempts` or `destinations`.
    pub what: String,
    /// The window, seconds.
    pub window_seconds: u64,
    /// How many sources did anything.
    pub sources: u64,
    /// Half of them never did more.
    pub p50: u64,
    /// 99 % never did more.
    pub p99: u64,
    /// 99.9 % never did more.
    pub p999: u64,
    /// The limit that is proposed; none: of attempts, since nobody is to be stopped for a rate
    /// alone, and where it would be beyond what can be counted.
    pub limit: Option<u64>,
    /// How many of the sources reached it.
    pub touches: Option<u64>,
}
