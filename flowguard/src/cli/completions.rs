//! `flowguard completions`: for shells.

use clap::CommandFactory;

use super::{Cli, context::Context, exit::Exit};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "flowguard", &mut script);
    context.output.bytes(&script)?;
    Ok(Exit::Done)
}
