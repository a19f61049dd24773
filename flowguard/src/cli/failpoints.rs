//! `flowguard failpoints`: the steps that a test can make fail. Only in builds for tests.

use super::{context::Context, exit::Exit};
use crate::kernel::steps::Step;

/// List the steps at which a test can make the daemon fail or die
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: &Context) -> anyhow::Result<Exit> {
    for step in Step::ALL {
        context.output.text(&format!("{}\n", step.name()))?;
    }
    Ok(Exit::Done)
}
