//! Pure: counters in, findings out.
//!
//! An [`Engine`] is offered the counters of every source once a tick, keeps as much of their past
//! as the longest window of a [`Rule`] needs, and names those that a rule fits. It knows no clock,
//! no files and no kernel: what to do with a [`Finding`] is the daemon's business.
//!
//! Wherever the arithmetic must lean to one side, it counts too little rather than too much: a
//! spammer is found a tick later, and an honest tenant not at all.

mod account;
mod clock;
mod engine;
mod evidence;
mod finding;
mod history;
mod measure;
mod offence;
mod plan;
mod risk;
mod rule;
mod settings;
mod sources;
mod sprt;
mod words;

#[cfg(test)]
mod tests;

pub use engine::{Engine, MAX_SOURCE};
pub use evidence::{Heard, Origin, Sample, Standing};
pub use finding::{Conduct, Finding, Likelihood, StepInfo};
pub use measure::{Counter, Fields, Measure, NoSuchMeasure};
pub use risk::Risk;
pub use rule::{Bound, Condition, Ladder, Rule, RuleAction, Step};
pub use settings::{Override, Package, Policy, RiskSettings, SprtSettings};
pub use sources::{SourceGlobs, SourceGlobsError};
pub use words::Meaning;
