//! bpf-linker, which links the BPF programs and writes their types (BTF).

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{invoke, out, paths};

const VERSION: &str = "0.13.0";

/// Where the linker is, or will be.
pub(crate) fn path() -> Result<PathBuf> {
    paths::tool("bpf-linker")
}

/// Whether the linker is there in the right version and starts: it needs LLVM's shared library.
pub(crate) fn works() -> Result<bool> {
    let path = path()?;
    Ok(path.is_file()
        && invoke::read(Command::new(path).arg("--version"))
            .is_ok_and(|printed| is_wanted(&printed)))
}

fn is_wanted(printed: &str) -> bool {
    printed.split_whitespace().nth(1) == Some(VERSION)
}

/// Builds the linker and keeps it with the build output.
pub(crate) fn install() -> Result<()> {
    out::say(format_args!(
        "building bpf-linker {VERSION}, the linker for BPF programs, once; this takes a minute or two"
    ));
    invoke::run(
        invoke::cargo()
            .env("LLVM_PREFIX", paths::llvm())
            .args(["install", "bpf-linker", "--version", VERSION])
            .args(["--locked", "--force", "--no-default-features"])
            .args(["--features", "llvm-22", "--root"])
            .arg(paths::tools()?),
    )
    .context("bpf-linker is needed to link the BPF programs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wanted_version_will_do() {
        assert!(is_wanted("bpf-linker 0.13.0\n"));
        assert!(!is_wanted("bpf-linker 0.12.9\n"));
        assert!(!is_wanted("bpf-linker 0.13.0-beta\n"));
        assert!(!is_wanted(""));
    }
}
