//! `cargo xtask soak`: a daemon that is killed and replaced again and again, under load.

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    build, invoke, paths,
    setup::{self, CoreChoice, Needs},
};

/// What the soak is told by its environment, and sudo must pass on.
const KEPT: [&str; 4] = [
    "FLOWGUARD_BIN",
    "FLOWGUARD_GROWN_BIN",
    "NO_COLOR",
    "RUST_BACKTRACE",
];

/// Kills the daemon at random moments and at every step of its start, and replaces its programs and
/// maps, under load, and checks that no connection was missed, none passed that is blocked, and none
/// was refused that is free.
///
/// Everything happens in network namespaces and cgroups of its own. It needs root; without it, it is
/// run through sudo.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How often the daemon is started.
    #[arg(long, default_value_t = 1_000)]
    rounds: u32,

    /// Do what an earlier soak did, which printed this seed; random otherwise.
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let prefix = invoke::root_prefix(&KEPT)
        .context("the soak needs root, and there is no sudo here: run this as root")?;
    let ready = setup::ensure(Needs::Demo, CoreChoice::default())?;
    let tested = build::tested(&ready, build::DEV)?;
    invoke::run(invoke::cargo().args(["build", "--package", "flowguard-tests", "--bins"]))?;

    let mut soak = invoke::prefixed(&prefix, paths::target()?.join("debug/fg-soak"));
    soak.arg(format!("--rounds={}", options.rounds));
    soak.args(options.seed.map(|seed| format!("--seed={seed}")));
    invoke::replace(soak.envs(tested.env()))
}
