//! Tells the library where the built BPF programs are, which it embeds.
//!
//! They are not built here: that takes another compiler target and a linker of its own, which
//! `cargo xtask build` takes care of.

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Where `cargo xtask build` puts the programs, under cargo's target folder.
const OBJECT: &str = "bpf/flowguard-ebpf.o";
/// And `cargo xtask test` those of another layout.
const GROWN_OBJECT: &str = "bpf/flowguard-ebpf-grown.o";

#[expect(
    clippy::print_stderr,
    reason = "cargo shows a failed build script's stderr to the person building"
)]
fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    let wanted = match env::var_os("CARGO_FEATURE_GROWN") {
        Some(_) => GROWN_OBJECT,
        None => OBJECT,
    };
    let object = env::var_os("OUT_DIR").and_then(|out| find(Path::new(&out), wanted));
    let Some(object) = object else {
        eprintln!(
            "the BPF programs ({wanted} under the target folder) are not built: run `cargo xtask build`"
        );
        return ExitCode::FAILURE;
    };
    println!("cargo::rerun-if-changed={}", object.display());
    println!("cargo::rustc-env=FLOWGUARD_BPF_OBJECT={}", object.display());
    ExitCode::SUCCESS
}

/// Looks upwards from cargo's folder for this build script: only cargo knows where its target
/// folder is, and how deep in it this one.
fn find(out: &Path, wanted: &str) -> Option<PathBuf> {
    out.ancestors()
        .map(|folder| folder.join(wanted))
        .find(|object| object.is_file())
}
