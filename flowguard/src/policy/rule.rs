//! What an operator calls suspicious, and what is to be done about it.

use std::time::Duration;

use flowguard_common::verdict::Rate;

use super::{measure::Measure, sources::SourceGlobs};
use crate::{control::api::ActionName, model::ClassName};

/// What the kernel shall do with the new connections of a source that a rule fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Refuse what exceeds the rate.
    Limit(Rate),
    /// Refuse what goes to a new destination and exceeds the rate.
    NewDestinations(Rate),
    /// Send them to the smarthost.
    Redirect,
    /// Refuse them.
    Block,
    /// Refuse them, and stop those that are open.
    Sever,
}

impl RuleAction {
    /// What it is called.
    pub const fn name(self) -> ActionName {
        match self {
            Self::Limit(_) => ActionName::Limit,
            Self::NewDestinations(_) => ActionName::NewDestinations,
            Self::Redirect => ActionName::Redirect,
            Self::Block => ActionName::Block,
            Self::Sever => ActionName::Sever,
        }
    }

    /// The rate that it lets pass, of actions that have one.
    pub const fn rate(self) -> Option<Rate> {
        match self {
            Self::Limit(rate) | Self::NewDestinations(rate) => Some(rate),
            Self::Redirect | Self::Block | Self::Sever => None,
        }
    }
}

/// One rule. It fits when all its conditions are met at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique among the rules; stands in verdicts and records.
    pub name: String,
    /// Whom it judges, by name.
    pub sources: SourceGlobs,
    /// Whom it judges, by the groups of a host user: one of these; empty: whatever the groups.
    pub groups: Vec<String>,
    /// Whom it judges, by hosting package: one of these; empty: whatever the package.
    pub packages: Vec<String>,
    /// Which of their connections.
    pub class: ClassName,
    /// What must all be so; never empty.
    pub when: Vec<Condition>,
    /// What happens then, the first time and the times after.
    pub ladder: Ladder,
}

/// Something that must be so for a rule to fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Condition {
    /// What is measured.
    pub what: Measure,
    /// How far back it looks; zero for the likelihood.
    pub within: Duration,
    /// The last part of the window, which it leaves out: what was before. Zero: none.
    pub before: Duration,
    /// What the value must be.
    pub bound: Bound,
    /// Of a ratio: what it is a ratio of must count at least so much.
    pub of_at_least: u64,
}

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less. Met only where the whole window was watched.
    AtMost(f64),
}

/// What happens to a source that a rule fits again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Ladder {
    /// Its name; none: it belongs to one rule.
    pub name: Option<String>,
    /// From the mildest to the gravest; never empty.
    pub steps: Vec<Step>,
    /// Every offence after the last step lasts this many times as long as the one before; at
    /// least 1.
    pub growth: f64,
    /// But never longer.
    pub longest: Duration,
    /// Good conduct for so long, counted from the end of the last verdict, and one offence is
    /// forgiven.
    pub forgive: Duration,
}

impl Ladder {
    /// The same every time.
    pub fn single(step: Step) -> Self {
        Self {
            name: None,
            steps: vec![step],
            growth: 1.0,
            longest: step.duration,
            forgive: Duration::from_hours(24),
        }
    }
}

impl Step {
    /// Something is done for some time.
    pub const fn new(action: RuleAction, duration: Duration) -> Self {
        Self {
            action: Some(action),
            duration,
        }
    }
}

/// One step of a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is done; none: it is only noted.
    pub action: Option<RuleAction>,
    /// For how long; zero for a note.
    pub duration: Duration,
}
