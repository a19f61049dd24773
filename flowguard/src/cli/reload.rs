//! `flowguard reload`: read the configuration again.

use super::{context::Context, exit::Exit};
use crate::{control::api::Reloaded, model::escape};

/// Have the daemon read its configuration again
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, context: &Context) -> anyhow::Result<Exit> {
    let client = context.client()?;
    let reloaded = context.wait(client.reload())??;
    context.output.text(&render(&reloaded))?;
    Ok(Exit::Done)
}

fn render(reloaded: &Reloaded) -> String {
    let config = reloaded
        .config
        .as_deref()
        .map_or_else(|| "the built-in defaults".to_owned(), escape);
    let mut text = format!("in force: {config}\n");
    if !reloaded.needs_restart.is_empty() {
        let names: Vec<_> = reloaded
            .needs_restart
            .iter()
            .map(|name| escape(name))
            .collect();
        text.push_str(&format!(
            "after a restart only (`systemctl restart flowguard`): {}\n",
            names.join(", ")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_restart_is_named() {
        let reloaded = Reloaded {
            config: Some("/etc/flowguard/flowguard.toml".to_owned()),
            needs_restart: vec!["paths.state".to_owned(), "paths.pins".to_owned()],
        };
        assert_eq!(
            render(&reloaded),
            "\
in force: /etc/flowguard/flowguard.toml
after a restart only (`systemctl restart flowguard`): paths.state, paths.pins
"
        );
    }
}
