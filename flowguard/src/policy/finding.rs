//! What the engine says.

use std::time::Duration;

use super::rule::RuleAction;
pub use crate::control::api::{Likelihood, StepInfo};
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
