//! What must survive the daemon and does not live in the kernel: why each verdict was made, what
//! every source did minute by minute, and what operators ordered.
//!
//! Counters and verdicts themselves are in the pinned maps. Losing this database loses
//! explanations and history, never protection, so the daemon goes on without it.
//!
//! - [`Store`]: the database itself; sets a damaged file aside and begins a new one.
//! - [`Keeper`]: the thread that owns it while the daemon runs, so that no disk holds up a tick.
//! - [`Recorder`]: from cumulative counters to what was done within a minute.
//! - [`Reader`]: for commands, beside a running daemon.

mod audit;
mod checksum;
mod database;
mod desk;
mod error;
mod history;
mod hours;
mod keeper;
mod reader;
mod recorder;
mod replies;
mod retention;
mod salvage;
mod scan;
mod schema;
mod verdicts;

#[cfg(test)]
mod testing;

pub use self::{
    database::{Opened, Store},
    error::StoreError,
    history::{Activity, Minute},
    keeper::{Health, Keeper},
    reader::{Reader, Span},
    recorder::{Recorder, Standing},
    replies::{Heard, Said},
    retention::{Retention, Shortened},
};
