//! Installing Debian's and Ubuntu's packages.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use super::packages::{self, Package, Sign};
use crate::{invoke, out, paths};

const SCRIPT: &str = include_str!("install.sh");

/// apt-get, for one run of xtask.
#[derive(Debug, Default)]
pub(crate) struct Apt {
    /// Whether the list of packages was brought up to date in this run.
    updated: bool,
}

impl Apt {
    /// Installs the packages and checks that what they were wanted for is there now.
    ///
    /// # Errors
    ///
    /// Where there is no apt-get or no way to become root, the error says what to do by hand.
    pub(crate) fn install(&mut self, wanted: &[&'static Package]) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        if paths::program("apt-get").is_none() {
            bail!("{}", by_hand(wanted));
        }
        let names = names(wanted);
        let Some(prefix) = invoke::root_prefix(&[]) else {
            bail!(
                "packages are missing, installing them needs root, and there is no sudo here. \
                 Run this as root, then try again:\n  \
                 apt-get update && apt-get install --no-install-recommends {names}"
            );
        };

        out::say("installing with apt-get:");
        out::list(wanted.iter().map(|package| (package.name, package.why)));
        let status = invoke::prefixed(&prefix, "sh")
            .args(["-c", SCRIPT, "install.sh"])
            .arg(if self.updated { "no" } else { "yes" })
            .args(wanted.iter().map(|package| package.name))
            .stdin(Stdio::null())
            .status()
            .context("cannot start the shell that runs apt-get")?;
        if !status.success() {
            bail!(
                "apt-get could not install {names} ({status}){}",
                hint(wanted)
            );
        }
        self.updated = true;

        let still = packages::missing(wanted.iter().copied(), packages::is_there);
        if !still.is_empty() {
            let signs: Vec<_> = still.iter().map(|package| package.sign).collect();
            bail!("apt-get installed {names}, and yet this is not there: {signs:?}");
        }
        Ok(())
    }
}

fn names(wanted: &[&Package]) -> String {
    let names: Vec<_> = wanted.iter().map(|package| package.name).collect();
    names.join(" ")
}

/// What to say where there is no apt-get.
fn by_hand(wanted: &[&Package]) -> String {
    let mut text = "this system has no apt-get, so these have to be installed by hand:".to_owned();
    for package in wanted {
        text.push_str(&format!("\n  {} - {}", package.elsewhere, package.why));
    }
    if wanted
        .iter()
        .any(|package| matches!(package.sign, Sign::Llvm(_)))
    {
        text.push_str("\nSet LLVM_PREFIX to the folder that LLVM 22 is installed in.");
    }
    text
}

/// What may help when apt-get fails: older releases do not carry LLVM 22.
fn hint(wanted: &[&Package]) -> &'static str {
    if wanted
        .iter()
        .any(|package| matches!(package.sign, Sign::Llvm(_)))
    {
        "; if it knows no llvm-22-dev, add the llvm-toolchain-*-22 source of this release from \
         https://apt.llvm.org and try again"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::packages::{BUILD, LINKER};

    #[test]
    fn without_apt_get_every_missing_thing_is_named_with_its_reason() {
        let wanted: Vec<_> = BUILD.iter().chain(LINKER).collect();
        let text = by_hand(&wanted);
        for package in wanted {
            assert!(text.contains(package.elsewhere), "{text}");
            assert!(text.contains(package.why), "{text}");
        }
        assert!(text.contains("LLVM_PREFIX"), "{text}");
    }

    #[test]
    fn llvm_is_spoken_of_only_where_it_is_missing() {
        let build: Vec<_> = BUILD.iter().collect();
        assert!(!by_hand(&build).contains("LLVM"));
        assert_eq!(hint(&build), "");
        let linker: Vec<_> = LINKER.iter().collect();
        assert!(hint(&linker).contains("apt.llvm.org"));
    }
}
