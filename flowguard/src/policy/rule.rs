//! What an operator calls suspicious, and what is to be done about it.

use std::time::Duration;

use flowguard_common::verdict::Rate;

use super::{history::Counts, sources::SourceGlobs};
use crate::{
    control::api::{ActionName, Observation},
    model::ClassName,
};

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

/// One rule. It fits when both minimums are reached within the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Unique among the rules; stands in verdicts and records.
    pub name: String,
    /// Whom it judges.
    pub sources: SourceGlobs,
    /// Which of their connections.
    pub class: ClassName,
    /// How far back it looks.
    pub window: Duration,
    /// Attempts that must have been made; 0: any number will do.
    pub min_attempts: u64,
    /// First contacts with a destination that must have been made (see
    /// [`flowguard_common::fanout`]); 0: any number will do.
    pub min_destinations: u64,
    /// What happens then.
    pub action: RuleAction,
    /// For how long.
    pub duration: Duration,
}

impl Rule {
    /// Whether this much activity within the window reaches every minimum. A rule without
    /// minimums fits nobody.
    pub(super) fn is_reached(&self, seen: Counts) -> bool {
        (self.min_attempts > 0 || self.min_destinations > 0)
            && seen.attempts >= self.min_attempts
            && seen.destinations >= self.min_destinations
    }

    /// What a verdict by this rule rests on.
    pub(super) fn observations(&self, seen: Counts) -> Vec<Observation> {
        [
            ("attempts", seen.attempts, self.min_attempts),
            ("destinations", seen.destinations, self.min_destinations),
        ]
        .into_iter()
        .filter(|(_, _, limit)| *limit > 0)
        .map(|(what, value, limit)| Observation {
            what: what.to_owned(),
            value,
            limit,
            window_seconds: self.window.as_secs(),
        })
        .collect()
    }
}
