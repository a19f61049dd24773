//! `flowguard unblock`: lift verdicts.

use super::{args, context::Context, exit::Exit, verdicts};
use crate::control::api::UnblockRequest;

/// Lift the verdicts of one source, or of all
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Args {
    /// user:NAME|UID, container:NAME|ID, cgroup:PATH, iface:NAME or addr:IP[/N]
    #[arg(value_parser = args::source)]
    source: Option<String>,
    /// Everybody's
    #[arg(long)]
    all: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let client = context.client()?;
    let request = UnblockRequest {
        source: args.source.clone(),
    };
    let lifted = context.wait(client.unblock(&request))??.lifted;
    if lifted.is_empty() {
        context
            .output
            .note("There was nothing to lift: no verdict is in force.");
    } else {
        let text = verdicts::render(&context.view(), &lifted);
        context.output.text(&text)?;
    }
    Ok(Exit::Done)
}
