//! `flowguard check`: would the daemon accept the configuration?

use super::{args, context::Context, exit::Exit};
use crate::{control::api::ConfigReport, model::Mode};

/// Check the configuration and say what is wrong with it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    json: args::Json,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let config = context.config();
    if args.json.json {
        context.output.json(&report(&config))?;
    }
    let config = config?;
    if !args.json.json {
        let origin = config.origin.as_deref().map_or_else(
            || "the built-in configuration (there is no file)".to_owned(),
            |path| crate::model::escape(&path.to_string_lossy()),
        );
        let mode = match config.mode {
            Mode::Observe => "observe",
            Mode::Enforce => "enforce",
        };
        context
            .output
            .text(&format!("{origin} is valid; it asks for {mode} mode\n"))?;
    }
    Ok(Exit::Done)
}

fn report(config: &anyhow::Result<crate::config::Config>) -> ConfigReport {
    match config {
        Ok(config) => ConfigReport {
            valid: true,
            config: config
                .origin
                .as_deref()
                .map(|path| path.to_string_lossy().into_owned()),
            mode: Some(config.mode),
            error: None,
        },
        Err(error) => ConfigReport {
            valid: false,
            config: None,
            mode: None,
            error: Some(format!("{error:#}")),
        },
    }
}
