//! `flowguard block` and `flowguard allow`: verdicts by hand.

use std::time::Duration;

use super::{args, context::Context, exit::Exit, verdicts};
use crate::{control::api::OrderRequest, model::ClassName};

/// Whom, what, how long and why.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// user:NAME|UID, container:NAME|ID, cgroup:PATH, iface:NAME or addr:IP[/N]
    #[arg(value_parser = args::source)]
    source: String,
    /// Only this class; may be given several times [default: direct and submission]
    #[arg(long = "class", value_name = "CLASS", value_enum)]
    classes: Vec<ClassName>,
    /// For how long: 30s, 10m, 1h, 7d [default: until lifted]
    #[arg(long = "for", value_name = "DURATION", value_parser = args::duration)]
    duration: Option<Duration>,
    /// Why, for whoever reads `flowguard show` later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Args {
    fn request(&self) -> OrderRequest {
        OrderRequest {
            source: self.source.clone(),
            classes: self.classes.clone(),
            seconds: self.duration.map(|duration| duration.as_secs()),
            reason: self.reason.clone(),
        }
    }
}

pub(super) fn block(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let client = context.client()?;
    let records = context.wait(client.block(&args.request()))??;
    let text = verdicts::render(&context.view(), &records);
    context.output.text(&text)?;
    Ok(Exit::Done)
}

pub(super) fn allow(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let client = context.client()?;
    let records = context.wait(client.allow(&args.request()))??;
    let text = verdicts::render(&context.view(), &records);
    context.output.text(&text)?;
    Ok(Exit::Done)
}
