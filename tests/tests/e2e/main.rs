//! flowguard as its operators meet it: the real program on the real kernel.
//!
//! Run by `cargo xtask test`, as root. Each test builds a host and a world of its own
//! (`flowguard_tests::lab`), so they run in parallel.

mod harness;
