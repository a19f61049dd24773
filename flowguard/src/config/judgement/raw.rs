//! What is written about judging. Every key that is not an `Option` has its default in the
//! reference file.

use serde::Deserialize;
use serde_spanned::Spanned;

use crate::{config::raw::RawRate, model::ClassName};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [sprt]")]
pub(in crate::config) struct RawSprt {
    pub(super) theta0: Spanned<f64>,
    pub(super) theta1: Spanned<f64>,
    pub(super) alpha: Spanned<f64>,
    pub(super) beta: Spanned<f64>,
    pub(super) half_life: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [risk]")]
pub(in crate::config) struct RawRisk {
    pub(super) rejection: Spanned<f64>,
    pub(super) words: Spanned<f64>,
    pub(super) listing: Spanned<f64>,
    pub(super) half_life: Spanned<String>,
    pub(super) danger: Spanned<f64>,
    pub(super) share: Spanned<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [[ladder]]")]
pub(in crate::config) struct RawLadder {
    pub(super) name: Spanned<String>,
    pub(super) steps: Spanned<Vec<RawStep>>,
    pub(super) growth: Option<Spanned<f64>>,
    pub(super) longest: Option<Spanned<String>>,
    pub(super) forgive: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a step such as { action = 'block', for = '1h' }"
)]
pub(in crate::config) struct RawStep {
    pub(super) action: Spanned<RawAction>,
    pub(super) limit: Option<Spanned<RawRate>>,
    #[serde(rename = "for")]
    pub(super) duration: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum RawAction {
    Notice,
    NewDestinations,
    Limit,
    Redirect,
    Block,
    Sever,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [[rule]]")]
pub(in crate::config) struct RawRule {
    pub(super) name: Spanned<String>,
    pub(super) sources: Spanned<Vec<Spanned<String>>>,
    pub(super) groups: Option<Vec<String>>,
    pub(super) packages: Option<Vec<String>>,
    pub(super) class: ClassName,
    pub(super) when: Option<Spanned<Vec<Spanned<RawCondition>>>>,
    pub(super) window: Option<Spanned<String>>,
    pub(super) min_attempts: Option<Spanned<i64>>,
    pub(super) min_destinations: Option<Spanned<i64>>,
    pub(super) ladder: Option<Spanned<String>>,
    pub(super) action: Option<Spanned<RawAction>>,
    pub(super) limit: Option<Spanned<RawRate>>,
    #[serde(rename = "for")]
    pub(super) duration: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a condition such as { within = '10m', what = 'destinations', at_least = 15 }"
)]
pub(in crate::config) struct RawCondition {
    pub(super) what: Spanned<String>,
    pub(super) within: Option<Spanned<String>>,
    pub(super) before: Option<Spanned<String>>,
    pub(super) at_least: Option<Spanned<f64>>,
    pub(super) at_most: Option<Spanned<f64>>,
    pub(super) of_at_least: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [[package]]")]
pub(in crate::config) struct RawPackage {
    pub(super) name: Spanned<String>,
    pub(super) sources: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) factor: Spanned<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a section [[override]]")]
pub(in crate::config) struct RawOverride {
    pub(super) name: Spanned<String>,
    pub(super) sources: Spanned<Vec<Spanned<String>>>,
    pub(super) factor: Option<Spanned<f64>>,
    pub(super) skip: Option<Vec<Spanned<String>>>,
    pub(super) until: Option<Spanned<String>>,
}
