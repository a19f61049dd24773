//! `cargo xtask demo`: flowguard at work, on tenants of its own.

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    build, invoke, paths,
    setup::{self, CoreChoice, Needs},
};

/// What the demo is told by its environment, and sudo must pass on.
const KEPT: [&str; 3] = ["FLOWGUARD_BIN", "NO_COLOR", "RUST_BACKTRACE"];

/// Builds flowguard and shows it stopping a hacked site while two other sites go on sending.
///
/// In under 30 seconds, with a live table and the explanation of the verdict. Everything happens
/// in network namespaces and cgroups of its own, which are gone afterwards, after Ctrl-C as well;
/// this machine's network is not touched. It needs root; without it, it is run through sudo.
#[derive(Args, Debug)]
pub(crate) struct Options {}

pub(crate) fn run(Options {}: &Options) -> Result<()> {
    let prefix = invoke::root_prefix(&KEPT)
        .context("the demo needs root, and there is no sudo here: run this as root")?;
    let ready = setup::ensure(Needs::Demo, CoreChoice::default())?;
    let binary = build::everything(&ready, false)?;
    invoke::run(invoke::cargo().args(["build", "--package", "flowguard-tests", "--bins"]))?;

    let demo = paths::target()?.join("debug/fg-demo");
    invoke::replace(invoke::prefixed(&prefix, demo).env("FLOWGUARD_BIN", binary))
}
