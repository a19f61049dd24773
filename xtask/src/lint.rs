//! `cargo xtask lint`: everything that can be checked without running it.

use anyhow::Result;
use clap::Args;

use crate::{
    build, invoke,
    setup::{self, CoreChoice, Needs},
};

/// What builds for the host: all but the BPF programs.
const HOST: [&str; 3] = ["--workspace", "--exclude", "flowguard-ebpf"];

/// Checks format, lints and documentation, on the host and on the BPF target; warnings are
/// errors.
#[derive(Args, Debug)]
pub(crate) struct Options {}

pub(crate) fn run(_: &Options) -> Result<()> {
    let ready = setup::ensure(Needs::Lint, CoreChoice::default())?;
    invoke::run(invoke::cargo().args(["fmt", "--all", "--check"]))?;
    invoke::run(
        invoke::cargo()
            .args(["fmt", "--check", "--manifest-path"])
            .arg("flowguard-common/fuzz/Cargo.toml"),
    )?;

    let deny = ["--", "--deny", "warnings"];
    for (features, _) in build::FORMS {
        invoke::run(
            build::bpf_cargo(&ready, "clippy")?
                .arg("--release")
                .args(features)
                .args(deny),
        )?;
    }
    // The host's crates embed the objects, so there is nothing to check without it.
    build::object(&ready)?;
    invoke::run(
        invoke::cargo()
            .arg("clippy")
            .args(HOST)
            .arg("--all-targets")
            .args(deny),
    )?;
    // What only the tested build has.
    invoke::run(
        invoke::cargo()
            .args([
                "clippy",
                "--package",
                "flowguard",
                "--features",
                "failpoints",
            ])
            .args(deny),
    )?;
    invoke::run(
        invoke::cargo()
            .args(["doc", "--no-deps", "--document-private-items"])
            .args(HOST)
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )
}
