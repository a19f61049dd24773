//! Ties kernel, identity, policy and store together.
//!
//! One task owns all state ([`state::State`]) and takes one thing after the other: requests of
//! the control socket, events of the kernel, devices and cgroups that come and go, ticks and
//! signals. What may block is done elsewhere and its answer comes back as a message. When the
//! daemon stops, gracefully or not, everything in the kernel goes on.

mod audit;
mod devices;
mod evidence;
mod gateways;
mod groups;
pub mod handle;
mod history;
mod judgement;
mod lookup;
mod mapping;
mod naming;
mod orders;
mod privilege;
mod processes;
mod reload;
mod report;
mod run;
mod sending;
mod sources;
mod start;
mod state;
mod tables;
mod vacancies;
mod verdicts;
mod warnings;

pub use privilege::{MissingPrivilege, require as require_privilege};
pub use run::run;
pub use start::{Options, RunError};
