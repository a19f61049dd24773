//! flowguard as its operators meet it: the real program on the real kernel.
//!
//! Run by `cargo xtask test`, as root. Each test builds a host and a world of its own
//! (`flowguard_tests::lab`), so they run in parallel.

mod actions;
mod answers;
mod arithmetic;
mod at_once;
mod blast;
mod bypass_container;
mod bypass_host;
mod cli;
mod control;
mod count;
mod demo;
mod disk;
mod edge;
mod engine;
mod failpoints;
mod flows;
mod full;
mod gateway;
mod harness;
mod history;
mod hostile;
mod identity;
mod lifecycle;
mod mail;
mod order;
mod parser;
mod policy;
mod reload;
mod replace;
mod sending;
mod uplink;

/// A user every Debian has, and its source.
const WWW: (&str, &str) = ("www-data", "user:www-data");
/// Another one.
const GAMES: (&str, &str) = ("games", "user:games");
/// And a third.
const BACKUP: (&str, &str) = ("backup", "user:backup");
