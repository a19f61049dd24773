//! `flowguard detach`: take the guard off this machine.

use anyhow::bail;

use super::{context::Context, exit::Exit};
use crate::{
    config::Config,
    control::client::{Client, ClientError},
    kernel::{self, Detached, KernelError},
};

/// Remove the pinned programs, links and maps: nothing is counted or refused any more
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: &Context) -> anyhow::Result<Exit> {
    let config = context.config()?;
    // A running daemon holds the links open: they would stay, without a name.
    let client = Client::new(&config.paths.control_socket);
    match context.wait(client.status())? {
        Err(ClientError::Unreachable { .. }) => {}
        Ok(status) => bail!(
            "the daemon is running (pid {}): stop it first (`systemctl stop flowguard`), then detach",
            status.pid
        ),
        Err(error) => return Err(error.into()),
    }
    let detached = detach(&config)?;
    context.output.text(&format!(
        "removed {} links and {} maps: nothing is counted or refused any more\n",
        detached.links, detached.maps
    ))?;
    Ok(Exit::Done)
}

fn detach(config: &Config) -> Result<Detached, KernelError> {
    kernel::detach(&config.paths.pins)
}
