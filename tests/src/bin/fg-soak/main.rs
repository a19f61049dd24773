//! The daemon is killed and replaced again and again while tenants connect as fast as they can. Run
//! by `cargo xtask soak`, as root.
//!
//! Exit codes: 0 when every connection was counted, none of the blocked source passed and none of
//! the free ones was refused; 1 when that is not so or something failed.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Result, ensure};
use clap::Parser;
use nix::sys::signal::{SigSet, Signal};

use crate::{report::Report, rounds::Soak};

mod report;
mod rounds;
mod tenants;

/// Kills and replaces the daemon under load, and checks what was counted.
#[derive(Parser)]
struct Options {
    /// How often the daemon is started.
    #[arg(long, default_value_t = 1_000)]
    rounds: u32,
    /// Do what an earlier soak did, which printed this seed; random otherwise.
    #[arg(long)]
    seed: Option<u64>,
}

/// A signal wants it to end.
static STOP: AtomicBool = AtomicBool::new(false);

/// From now on, a signal does not end this process, but its work: what it made is removed then.
fn catch_signals() -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    thread::spawn(move || {
        if signals.wait().is_ok() {
            STOP.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// Fails once a signal came.
pub(crate) fn go_on() -> Result<()> {
    ensure!(!STOP.load(Ordering::Relaxed), "ended by a signal");
    Ok(())
}

fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    report::say(&format!("soak: {} rounds, --seed {seed}", options.rounds));
    let report: Result<Report> = catch_signals().and_then(|()| Soak::run(options.rounds, seed));
    match report {
        Ok(report) => {
            report::say(&report.to_string());
            if report.is_good() {
                ExitCode::SUCCESS
            } else {
                report::say(&format!(
                    "soak: failed; again: --rounds {} --seed {seed}",
                    options.rounds
                ));
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            report::say(&format!(
                "soak: failed: {error:?}\nagain: --rounds {} --seed {seed}",
                options.rounds
            ));
            ExitCode::FAILURE
        }
    }
}
