//! `cargo xtask deny`: what the dependencies are, and whether we may and should use them.

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use crate::{invoke, out, paths};

const VERSION: &str = "0.20.2";

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
    let program = paths::tool("cargo-deny")?;
    if !program.is_file() {
        out::say(format_args!(
            "building cargo-deny {VERSION} once; this takes some minutes"
        ));
        invoke::run(
            invoke::cargo()
                .args(["install", "cargo-deny", "--version", VERSION, "--locked"])
                .arg("--root")
                .arg(paths::tools()?),
        )
        .context("cargo-deny is needed to check the dependencies")?;
    }
    invoke::run(
        std::process::Command::new(program)
            .current_dir(paths::root())
            .args(["--workspace", "check"])
            .args(options.checks.iter().map(|check| check.name())),
    )
}
