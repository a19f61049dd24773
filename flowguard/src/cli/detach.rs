//! `flowguard detach`: take the guard off this machine.

use anyhow::{Context as _, bail};
use jiff::Timestamp;

use super::{context::Context, exit::Exit};
use crate::{
    config::Config,
    control::{
        api::{AuditEntry, Ended},
        client::{Client, ClientError},
    },
    kernel,
    store::Store,
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
    let detached = kernel::detach(&config.paths.pins)?;
    end_records(&config)?;
    context.output.text(&format!(
        "removed {} links and {} maps: nothing is counted or refused any more\n",
        detached.links, detached.maps
    ))?;
    Ok(Exit::Done)
}

/// Verdicts on record would come back into force when a daemon starts, as after a reboot.
fn end_records(config: &Config) -> anyhow::Result<()> {
    let path = &config.paths.state;
    if !path.exists() {
        return Ok(());
    }
    let end = Ended {
        at: Timestamp::now(),
        by: "detach".to_owned(),
    };
    let entry = AuditEntry {
        entry: 0,
        at: end.at,
        by: format!("uid:{}", nix::unistd::getuid()),
        what: "detach".to_owned(),
        source: None,
        detail: None,
        reason: None,
        error: None,
    };
    Store::open(path)
        .and_then(|(mut store, _)| {
            store.end_all(&end)?;
            store.note_order(&entry)
        })
        .with_context(|| {
            format!(
                "the guard is removed, but verdicts on record in {} stay open and would be in \
                 force again with the next daemon",
                path.display()
            )
        })
}
