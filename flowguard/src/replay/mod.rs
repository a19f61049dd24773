//! What would have happened: a policy on trial over the past, by the very engine that the daemon
//! runs.
//!
//! - [`Trial`]: one policy, the sources of the past, and what was found.
//! - [`over_history`]: the past that the daemon keeps, by the minute and by the hour.
//! - [`Peaks`]: what sources did at most, to find limits.
//! - [`over_flows`]: connections out of logs of other programs ([`flows`]).
//!
//! Pure but for what is read: the same past gives the same findings, every time. A verdict holds in
//! the trial for as long as it would have, and what is refused is tried all the same: the past does
//! not change.

pub mod flows;
mod history;
mod outcome;
mod recommend;
mod trial;

#[cfg(test)]
mod tests;

pub use self::{
    flows::{Format, over_flows},
    history::over_history,
    outcome::compare,
    recommend::{Peaks, recommend},
    trial::Trial,
};
