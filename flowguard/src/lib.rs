//! flowguard, as a library: everything behind the `flowguard` command.
//!
//! - [`kernel`]: loads, pins, adopts and attaches the BPF programs; typed handles on their maps.
//! - [`identity`]: who is behind a uid, a cgroup, a network namespace, a device.
//! - [`policy`]: pure; counters in, decisions out.
//! - [`rate`]: rates as people write them.
//! - [`replay`]: what other rules would have done to the past.
//! - [`store`]: what must survive the daemon and does not live in the kernel.
//! - [`daemon`]: ties them together.
//! - [`control`]: HTTP and JSON on a unix socket.
//! - [`config`]: the configuration file, checked.
//! - [`cli`]: the command line.

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod identity;
pub mod kernel;
pub mod model;
pub mod policy;
pub mod rate;
pub mod replay;
pub mod store;
