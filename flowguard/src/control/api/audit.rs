//! What operators ordered.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An element of `GET /v1/audit`: an order, or a refused one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Number of the entry; 0: not written yet.
    #[serde(default)]
    pub entry: u64,
    /// When.
    pub at: Timestamp,
    /// Who: `uid:N`; `signal` for SIGHUP and SIGTERM, `daemon` for what it does by itself.
    pub by: String,
    /// What: `block`, `allow`, `unblock`, `reload`, `detach`, `start`, `stop`.
    pub what: String,
    /// Whom it was about, as it was typed, unescaped; none: everybody, or nobody.
    pub source: Option<String>,
    /// Action, classes and time of a `block` or `allow`; the file of a `reload`.
    pub detail: Option<String>,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// Why nothing came of it; none: it was done.
    pub error: Option<String>,
}
