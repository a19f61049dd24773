//! Tells the library where the built BPF programs are, which it embeds.
//!
//! They are not built here: that takes another compiler target and a linker of its own, which
//! `cargo xtask build` takes care of.

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Where `cargo xtask build` puts the programs, under cargo's target folder, and what the library
/// knows each form of them by.
const OBJECTS: [(&str, &str); 2] = [
    ("FLOWGUARD_BPF_OBJECT", "bpf/flowguard-ebpf.o"),
    ("FLOWGUARD_BPF_OBJECT_LEGACY", "bpf/flowguard-ebpf-legacy.o"),
];
/// The same with maps of another layout, for tests.
const GROWN_OBJECTS: [(&str, &str); 2] = [
    ("FLOWGUARD_BPF_OBJECT", "bpf/flowguard-ebpf-grown.o"),
    (
        "FLOWGUARD_BPF_OBJECT_LEGACY",
        "bpf/flowguard-ebpf-grown-legacy.o",
    ),
];

#[expect(
    clippy::print_stderr,
    reason = "cargo shows a failed build script's stderr to the person building"
)]
fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    let objects = match env::var_os("CARGO_FEATURE_GROWN") {
        Some(_) => GROWN_OBJECTS,
        None => OBJECTS,
    };
    for (variable, object) in objects {
        let found = env::var_os("OUT_DIR").and_then(|out| find(Path::new(&out), object));
        let Some(found) = found else {
            eprintln!(
                "the BPF programs ({object} under the target folder) are not built: run `cargo xtask build`"
            );
            return ExitCode::FAILURE;
        };
        println!("cargo::rerun-if-changed={}", found.display());
        println!("cargo::rustc-env={variable}={}", found.display());
    }
    ExitCode::SUCCESS
}

/// Looks upwards from cargo's folder for this build script: only cargo knows where its target
/// folder is, and how deep in it this one.
fn find(out: &Path, object: &str) -> Option<PathBuf> {
    out.ancestors()
        .map(|folder| folder.join(object))
        .find(|object| object.is_file())
}
