//! What the engine says.

use std::time::Duration;

use super::rule::RuleAction;
use crate::{
    control::api::Observation,
    model::{ClassName, SourceName},
};

/// A source that a rule fits.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Source id.
    pub source: u32,
    /// Who that is.
    pub name: SourceName,
    /// In which class.
    pub class: ClassName,
    /// Name of the rule.
    pub rule: String,
    /// Which step of the rule's ladder.
    pub step: StepInfo,
    /// What is to be done; none: it is to be noted.
    pub action: Option<RuleAction>,
    /// For how long; zero for a note.
    pub duration: Duration,
    /// What was seen, one for each condition of the rule but the likelihood.
    pub observations: Vec<Observation>,
    /// How sure the sequential test is; none: it has seen no outcome.
    pub likelihood: Option<Likelihood>,
}

/// A step of a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq)]
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

/// What is to be remembered of a source's conduct when the engine stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conduct {
    /// Whose.
    pub name: SourceName,
    /// In which class.
    pub class: ClassName,
    /// Against which rule, by name.
    pub rule: String,
    /// Offences that are not forgiven yet.
    pub offences: u32,
    /// How long ago the last one's verdict ended, or one was forgiven after that; zero while it
    /// lasts.
    pub since: Duration,
}
