//! The daemon is killed and replaced again and again while tenants connect as fast as they can. Run
//! by `cargo xtask soak`, as root.
//!
//! Exit codes: 0 when every connection was counted, none of the blocked source passed and none of
//! the free ones was refused; 1 when that is not so or something failed.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

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

fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    report::say(&format!("soak: {} rounds, --seed {seed}", options.rounds));
    let report: Result<Report> = Soak::run(options.rounds, seed);
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
