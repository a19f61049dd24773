//! Programs that cargo installs and our commands use, kept with the build output.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{invoke, out, paths};

/// A program that `cargo install` builds.
#[derive(Debug)]
pub(crate) struct Tool {
    /// The crate and its program.
    pub(crate) name: &'static str,
    /// The one version we use.
    pub(crate) version: &'static str,
    /// What we use it for.
    pub(crate) why: &'static str,
    /// Options for `cargo install` on top of the version's.
    pub(crate) options: &'static [&'static str],
}

impl Tool {
    /// Where the program is, or will be.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        Ok(paths::tools()?.join("bin").join(self.name))
    }

    /// Whether the program is there in the right version, and starts.
    pub(crate) fn works(&self) -> Result<bool> {
        let path = self.path()?;
        Ok(path.is_file()
            && invoke::read(Command::new(path).arg("--version"))
                .is_ok_and(|printed| self.is_wanted(&printed)))
    }

    fn is_wanted(&self, printed: &str) -> bool {
        printed.split_whitespace().nth(1) == Some(self.version)
    }

    /// Builds the program and keeps it.
    pub(crate) fn install(&self) -> Result<()> {
        let Self {
            name,
            version,
            why,
            options,
        } = self;
        out::say(format_args!(
            "building {name} {version} once, which takes minutes: {why}"
        ));
        invoke::run(
            invoke::cargo()
                // For bpf-linker; the others do not look at it.
                .env("LLVM_PREFIX", paths::llvm())
                .args(["install", name, "--version", version, "--locked", "--force"])
                .args(*options)
                .arg("--root")
                .arg(paths::tools()?),
        )
        .with_context(|| format!("cannot build {name} ({why})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_wanted_version_will_do() {
        let tool = Tool {
            name: "bpf-linker",
            version: "0.13.0",
            why: "",
            options: &[],
        };
        assert!(tool.is_wanted("bpf-linker 0.13.0\n"));
        assert!(!tool.is_wanted("bpf-linker 0.12.9\n"));
        assert!(!tool.is_wanted("bpf-linker 0.13.0-beta\n"));
        assert!(!tool.is_wanted(""));
    }
}
