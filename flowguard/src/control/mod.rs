//! HTTP and JSON on a unix socket: what the CLI and others talk to.
//!
//! [`server`] answers out of the daemon, [`client`] asks, and both speak the types of [`api`].

pub mod api;
pub mod client;
pub mod server;
