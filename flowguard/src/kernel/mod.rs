//! The kernel side, seen from userspace: loads, pins, adopts, replaces and attaches the BPF
//! programs, and offers typed handles on their maps.
//!
//! Everything is reached through its pin, so that the daemon, a daemon started later, and
//! `flowguard sources --offline` see the same thing in the same way.

mod attach;
mod carry;
pub mod clock;
mod counters;
mod detach;
mod device;
mod error;
mod events;
mod fallback;
mod gateway;
mod generation;
mod link;
mod loader;
mod log;
mod maps;
mod migrate;
mod netdev;
mod netns_probe;
pub mod offline;
mod pins;
mod prefix;
pub mod probe;
mod programs;
mod raw;
mod registry;
mod replace;
mod settings;
mod slots;
pub mod steps;
mod sys;
mod tables;
mod trial;
mod verdicts;
mod xdp;

pub use attach::{Device, Hooks};
pub use counters::Counters;
pub use detach::{Detached, detach};
pub use device::EdgeMethod;
pub use error::KernelError;
pub use events::{EventReader, Record, comm};
pub use fallback::Fallback;
pub use loader::{Kernel, Loaded, Options};
pub use log::ProgramLog;
pub use netdev::XdpMode;
pub use netns_probe::NetnsProbe;
pub use pins::{Pins, PinsLock};
pub use programs::Role;
pub use registry::{Identity, Registry};
pub use settings::{Policy, SettingsBanks};
pub use tables::{Full, Table};
pub use verdicts::{Terms, Verdicts};
