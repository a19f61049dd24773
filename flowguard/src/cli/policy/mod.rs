//! `flowguard policy`: what rules say, and what they would have done.

mod check;
mod outcome;
mod recommend;
mod replay;

use super::{context::Context, exit::Exit};

/// Explain and try out rules
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(check::Args),
    Replay(replay::Args),
    Recommend(recommend::Args),
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Check(args) => check::run(args, context),
        Command::Replay(args) => replay::run(args, context),
        Command::Recommend(args) => recommend::run(args, context),
    }
}
