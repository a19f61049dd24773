//! What commands say that ask no daemon.

use serde::{Deserialize, Serialize};

use crate::model::Mode;

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
