//! `cargo xtask simulate`: what the shipped policy makes of simulated tenants.

use anyhow::Result;
use clap::Args;

use crate::{
    build, invoke, paths,
    setup::{self, CoreChoice, Needs},
};

/// Simulates days of mail of ten thousand tenants, some of them infected, and tells what the shipped
/// policy, and simpler ones, do to whom.
///
/// Nothing is sent, no kernel is asked, and no root is needed. `cargo xtask simulate -- --help` lists the
/// simulator's own options; `--check` makes it fail if the policy does not do what it should.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Options of the simulator.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let ready = setup::ensure(Needs::Build, CoreChoice::default())?;
    // The library that is simulated embeds them.
    build::object(&ready)?;
    invoke::run(invoke::cargo().args(["build", "--release", "--package", "flowguard-simulate"]))?;
    let program = paths::target()?.join("release/fg-simulate");
    invoke::replace(invoke::prefixed(&[], program).args(&options.options))
}
