//! `flowguard policy`: what rules say, before they do anything.

mod check;

use super::{context::Context, exit::Exit};

/// Explain and try out rules
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(check::Args),
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Check(args) => check::run(args, context),
    }
}
