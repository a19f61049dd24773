//! `flowguard run`: the daemon.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::{
    context::Context,
    exit::{Exit, UsageError},
    live,
};
use crate::daemon;

/// What is logged, in the syntax of `tracing_subscriber::EnvFilter`.
const LOG_VARIABLE: &str = "FLOWGUARD_LOG";

/// Guard this machine: run the daemon in the foreground
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show the busiest sources once a second; where stdout is no terminal, a line per change
    #[arg(long)]
    live: bool,
    /// Remove a guard that another version left attached, with its counts
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    // What `FAILPOINTS` says holds for as long as this lives.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    let config = context.config()?;
    // A log on the same terminal would tear the table apart.
    let quiet = args.live && context.output.terminal;
    log_to_stderr(if quiet { "error" } else { "info" })?;
    let (live, output) = (args.live, context.output);
    let options = daemon::Options {
        replace: args.replace,
        interactive: args.live,
    };
    daemon::run(config, options, move |handle| {
        if live {
            live::start(handle, output);
        }
    })?;
    Ok(Exit::Done)
}

fn log_to_stderr(default: &str) -> anyhow::Result<()> {
    let filter = match std::env::var(LOG_VARIABLE) {
        Ok(filter) => EnvFilter::try_new(&filter).map_err(|error| UsageError {
            message: format!("`{filter}` in {LOG_VARIABLE} is no log filter: {error}"),
        })?,
        Err(_) => EnvFilter::new(default),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // The journal has its own clock (systemd.exec(5), $JOURNAL_STREAM).
    let done = if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().try_init()
    } else {
        log.try_init()
    };
    done.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}
