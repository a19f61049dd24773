//! `cargo xtask deny`: what the dependencies are, and whether we may and should use them.

use std::process::Command;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{invoke, paths, tool::Tool};

const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    why: "checks licences, sources and advisories of the dependencies",
    options: &[],
};

/// Checks the dependencies against deny.toml with cargo-deny, which is built on first use (some
/// minutes).
///
/// The check of advisories fetches their database, so it needs the network.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// What to check; everything when left out.
    #[arg(value_enum)]
    checks: Vec<Check>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Check {
    /// Known vulnerabilities and abandoned crates.
    Advisories,
    /// Crates that must not be used, or not twice.
    Bans,
    /// Licences.
    Licenses,
    /// Where crates come from.
    Sources,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Self::Advisories => "advisories",
            Self::Bans => "bans",
            Self::Licenses => "licenses",
            Self::Sources => "sources",
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if !DENY.works()? {
        DENY.install()?;
    }
    invoke::run(
        Command::new(DENY.path()?)
            .current_dir(paths::root())
            .args(["--workspace", "check", "--hide-inclusion-graph"])
            .args(options.checks.iter().map(|check| check.name())),
    )
}
