//! `cargo xtask test`: all tests, those on the real kernel too.

use std::ffi::OsString;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    build, invoke, out,
    setup::{self, CoreChoice, Needs},
};

/// What the tests are told by their environment, and sudo must pass on.
const KEPT: [&str; 5] = [
    "CI",
    "FLOWGUARD_BIN",
    "FLOWGUARD_GROWN_BIN",
    "RUST_BACKTRACE",
    "RUST_LOG",
];

/// Builds flowguard and runs the tests: the pure ones and those on this machine's kernel.
///
/// Tests on the kernel need root; without it they are run through sudo. They make their own
/// network namespaces and cgroups and remove them.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Run only tests whose names contain this.
    filter: Option<String>,

    /// Arguments for the test programs, such as `--nocapture`.
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let prefix = invoke::root_prefix(&KEPT).context(
        "the tests on the kernel need root, and there is no sudo here: run this as root",
    )?;
    let ready = setup::ensure(Needs::Test, CoreChoice::default())?;
    let tested = build::tested(&ready, build::DEV)?;

    let mut cargo = invoke::cargo();
    cargo
        .args(["test", "--workspace", "--exclude", "flowguard-ebpf"])
        .envs(tested.env());
    if !prefix.is_empty() {
        out::say("the tests on the kernel need root: running the test programs with sudo");
        cargo.arg("--config").arg(runner(&prefix));
    }
    cargo.args(&options.filter).arg("--").args(&options.args);
    invoke::run(&mut cargo)
}

/// A cargo setting that puts `prefix` before each test program, so that cargo itself and all it
/// builds stay the user's.
fn runner(prefix: &[String]) -> String {
    let words: Vec<_> = prefix.iter().map(|word| format!("'{word}'")).collect();
    format!("target.'cfg(unix)'.runner = [{}]", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_is_a_toml_array() {
        let prefix = ["sudo".to_owned(), "--preserve-env=CI,RUST_LOG".to_owned()];
        assert_eq!(
            runner(&prefix),
            "target.'cfg(unix)'.runner = ['sudo', '--preserve-env=CI,RUST_LOG']"
        );
    }
}
