//! `flowguard policy`: what a policy would do.

mod replay;

use super::{context::Context, exit::Exit};

/// Try a policy before it is in force
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Replay(replay::Args),
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Replay(args) => replay::run(args, context),
    }
}
