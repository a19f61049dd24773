//! All that an operator can tell the engine.

use std::time::Duration;

use jiff::Timestamp;

use super::{rule::Rule, sources::SourceGlobs};

/// The rules, and what they are weighed with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// In the order in which they are tried.
    pub rules: Vec<Rule>,
    /// The sequential test.
    pub sprt: SprtSettings,
    /// What one source's conduct means for those who share its address.
    pub risk: RiskSettings,
    /// Hosting packages.
    pub packages: Vec<Package>,
    /// Sources that are judged otherwise; of several that fit one source the first counts.
    pub overrides: Vec<Override>,
}

/// The sequential probability ratio test (Wald 1945; for spam: SPOT, Duan et al. 2012).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SprtSettings {
    /// How often an outcome of a good source is bad; between 0 and 1.
    pub theta0: f64,
    /// How often one of a bad source is; above `theta0` and below 1.
    pub theta1: f64,
    /// How often a good source may be called bad.
    pub alpha: f64,
    /// How often a bad source may be called good.
    pub beta: f64,
    /// What was seen counts half after so long.
    pub half_life: Duration,
}

impl Default for SprtSettings {
    /// SPOT's own figures, with an α of one in ten thousand.
    fn default() -> Self {
        Self {
            theta0: 0.2,
            theta1: 0.9,
            alpha: 0.0001,
            beta: 0.01,
            half_life: Duration::from_hours(1),
        }
    }
}

/// When an address is in danger, and who feels it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RiskSettings {
    /// What a reply that says no adds to the risk of the address it was sent from.
    pub rejection: f64,
    /// What a reply with a provider's words for a spammer adds.
    pub words: f64,
    /// What a blacklist adds, while the address is on it.
    pub listing: f64,
    /// Risk counts half after so long.
    pub half_life: Duration,
    /// From this risk on an address is in danger.
    pub danger: f64,
    /// Whoever brought about at least this share of it, from 0 to 1, climbs a step sooner.
    pub share: f64,
}

impl Default for RiskSettings {
    fn default() -> Self {
        Self {
            rejection: 0.1,
            words: 1.0,
            listing: 10.0,
            half_life: Duration::from_hours(6),
            danger: 10.0,
            share: 0.2,
        }
    }
}

/// A hosting package.
#[derive(Clone, Debug, PartialEq)]
pub struct Package {
    /// As the panel calls it.
    pub name: String,
    /// Who has it, where no panel says so; none: only a panel does.
    pub sources: Option<SourceGlobs>,
    /// Limits of counts are so many times as high.
    pub factor: f64,
}

/// A source, or several, that are judged otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// Unique among the overrides.
    pub name: String,
    /// Whom it concerns.
    pub sources: SourceGlobs,
    /// Limits of counts are so many times as high.
    pub factor: f64,
    /// Names of rules that do not judge them.
    pub skip: Vec<String>,
    /// Its end; none: it stays.
    pub until: Option<Timestamp>,
}
