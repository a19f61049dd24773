//! The kernel side, seen from userspace: loads, pins, adopts, replaces and attaches the BPF
//! programs, and offers typed handles on their maps.
//!
//! Everything is reached through its pin, so that the daemon, a daemon started later, and
//! `flowguard sources --offline` see the same thing in the same way.

mod attach;
pub mod clock;
mod counters;
mod detach;
mod device;
mod error;
mod events;
mod gateway;
mod loader;
mod log;
mod netdev;
pub mod offline;
mod pins;
mod prefix;
pub mod probe;
mod programs;
mod registry;
mod settings;
mod slots;
mod sys;
mod tables;
mod verdicts;
mod xdp;

pub use attach::{Device, Hooks};
pub use counters::{Counters, Fallback};
pub use detach::{Detached, detach};
pub use device::EdgeMethod;
pub use error::KernelError;
pub use events::{EventReader, Record, comm};
pub use loader::{Kernel, Loaded, Options};
pub use log::ProgramLog;
pub use netdev::XdpMode;
pub use pins::{Pins, PinsLock};
pub use programs::Role;
pub use registry::{Identity, Registry};
pub use settings::{Policy, SettingsBanks};
pub use tables::{Full, Table};
pub use verdicts::{Terms, Verdicts};
