//! Refusals.

use serde::{Deserialize, Serialize};

/// Every answer with a status other than 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For programs.
    pub code: FailureCode,
    /// For people: what happened and what to do.
    pub message: String,
}

/// What sort of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureCode {
    /// The request makes no sense, as it is.
    BadRequest,
    /// Nobody of that name is known.
    NoSuchSource,
    /// The caller may not do that.
    Forbidden,
    /// The configuration was refused.
    BadConfig,
    /// The request did not arrive, or was not answered, in time.
    Timeout,
    /// The daemon failed; also any code of a newer daemon.
    #[serde(other)]
    Internal,
}
