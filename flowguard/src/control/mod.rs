//! HTTP and JSON on a unix socket: what the CLI and others talk to.

pub mod api;
