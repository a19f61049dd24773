//! What goes over the control socket, and what `--json` prints: the same types, so that the names
//! are stable and documented in one place.

mod audit;
mod check;
mod failure;
mod order;
mod replay;
mod source;
mod status;
mod verdict;

pub use self::{
    audit::AuditEntry,
    check::{Check, CheckState, ConfigReport, Doctor, ProgramCheck},
    failure::{Failure, FailureCode},
    order::{
        MAX_ORDER_SECONDS, MAX_REASON_BYTES, OrderRequest, Reloaded, UnblockRequest, Unblocked,
    },
    replay::{
        Comparison, Hit, Judged, Measured, Outcome, Recommendation, Skipped, SkippedLine, Stretch,
        Tried,
    },
    source::{ContainerInfo, Event, FollowLine, Process, Reply, Source, SourceDetail},
    status::{Decided, RiskLevel, SendingAddress, Status, TableUse},
    verdict::{ActionName, Bound, Ended, Likelihood, Limit, Observation, StepInfo, VerdictRecord},
};
