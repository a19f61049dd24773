//! `cargo xtask run`: the guard on this host, observing, with a live table.

use std::ffi::OsString;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    build, invoke, out,
    setup::{self, CoreChoice, Needs},
};

/// Builds flowguard and starts it on this host: it observes and blocks nothing, and shows a live
/// table until Ctrl-C.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Arguments for `flowguard run`, such as `--config FILE`.
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let prefix = invoke::root_prefix(&[])
        .context("flowguard needs root, and there is no sudo here: run this as root")?;
    let ready = setup::ensure(Needs::Build, CoreChoice::default())?;
    let binary = build::everything(&ready, true)?;

    let mut command = invoke::prefixed(&prefix, binary);
    command.args(["run", "--live"]).args(&options.args);
    out::say(format_args!("starting {}", invoke::line(&command)));
    invoke::replace(&mut command)
}
