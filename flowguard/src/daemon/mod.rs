//! Ties kernel, identity, policy and store together.

pub mod handle;
