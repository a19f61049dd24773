//! What operators ask the daemon to do.

use serde::{Deserialize, Serialize};

use super::verdict::{ActionName, Limit, VerdictRecord};
use crate::model::ClassName;

/// Longest time an order may hold, seconds: ten years.
pub const MAX_ORDER_SECONDS: u64 = 10 * 365 * 86_400;
/// Longest reason of an order, bytes.
pub const MAX_REASON_BYTES: usize = 1_000;

/// `POST /v1/block`, `POST /v1/allow`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderRequest {
    /// Whom, as the operator typed it.
    pub source: String,
    /// What a block does; none: `block`. Anything but `allow`; `POST /v1/allow` has none.
    #[serde(default)]
    pub action: Option<ActionName>,
    /// The rate that still passes, of a `limit` or of `new-destinations`, and only of these.
    #[serde(default)]
    pub limit: Option<Limit>,
    /// Which classes; empty: direct and submission, of a `redirect` direct alone.
    #[serde(default)]
    pub classes: Vec<ClassName>,
    /// For how long, seconds, from 1 to [`MAX_ORDER_SECONDS`]; none: until lifted.
    #[serde(default)]
    pub seconds: Option<u64>,
    /// Why; at most [`MAX_REASON_BYTES`].
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST /v1/unblock`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnblockRequest {
    /// Whom; none: everybody.
    #[serde(default)]
    pub source: Option<String>,
}

/// Answer to `POST /v1/unblock`: the verdicts that were lifted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unblocked {
    /// The lifted verdicts.
    pub lifted: Vec<VerdictRecord>,
}

/// Answer to `POST /v1/reload`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// File the configuration came from; none: the embedded default.
    pub config: Option<String>,
    /// What changed that takes effect only after a restart.
    pub needs_restart: Vec<String>,
}
