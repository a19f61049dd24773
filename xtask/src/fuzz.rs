//! `cargo xtask fuzz`: bytes that nobody thought of, for what reads bytes of strangers.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use crate::{
    invoke, out, paths,
    setup::{self, CoreChoice, Needs},
    tool::Tool,
};

const FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.1",
    why: "builds programs for libFuzzer and runs them",
    options: &[],
};

/// Fuzzes a parser with cargo-fuzz, which is built on first use.
///
/// What it learns is kept under the target folder, and the next run goes on from there. An input that
/// breaks a promise is an error; it is kept too, and the output says how to run it again.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// What to fuzz.
    #[arg(value_enum, default_value_t = Target::Parser)]
    target: Target,

    /// For how long.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Target {
    /// Frames to TCP segments: flowguard-common's `packet`.
    Parser,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Parser => "parser",
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure(Needs::Fuzz, CoreChoice::default())?;
    if !FUZZ.works()? {
        FUZZ.install()?;
    }
    let name = options.target.name();
    let folder = paths::target()?.join("fuzz");
    let [corpus, artifacts] = ["corpus", "artifacts"].map(|kind| folder.join(kind).join(name));
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    invoke::run(
        invoke::cargo()
            .args(["run", "--quiet", "--package", "flowguard-common"])
            .args(["--features", "testing", "--example", "seeds", "--"])
            .arg(&corpus),
    )?;
    invoke::run(
        Command::new(FUZZ.path()?)
            .current_dir(paths::root())
            // The flags of the instrumentation are for nightly compilers, unless a stable one is
            // told that its user knows. No sanitizer: there is no unsafe code to watch.
            .env("RUSTC_BOOTSTRAP", "1")
            .args([
                "run",
                "--fuzz-dir",
                "flowguard-common/fuzz",
                "--sanitizer",
                "none",
            ])
            .arg("--target-dir")
            .arg(folder.join("build"))
            .arg(name)
            .arg(&corpus)
            .arg("--")
            .arg(format!("-max_total_time={}", options.seconds))
            .arg(format!("-artifact_prefix={}/", artifacts.display())),
    )?;
    out::say(format_args!("nothing found in {} seconds", options.seconds));
    Ok(())
}
