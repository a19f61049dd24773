//! The `core` library for the BPF programs: Rust ships none for that target.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::{
    apt::Apt,
    packages::{self, DEBIAN_CORE},
};
use crate::{invoke, out};

/// Where the `core` library for the BPF programs comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Core {
    /// Built from the sources of the Rust toolchain in use, its rust-src component.
    RustSrc,
    /// Prebuilt, in Debian's packages, together with a compiler that fits it.
    Debian,
}

/// A component of a Rust toolchain, by rustup's name.
#[derive(Debug)]
struct Component {
    name: &'static str,
    /// A file of it, under the toolchain's folder.
    file: &'static str,
    why: &'static str,
}

const RUST_SRC: Component = Component {
    name: "rust-src",
    file: "lib/rustlib/src/rust/library/core/src/lib.rs",
    why: "the core library's sources, to build it for BPF",
};

const LINT: [Component; 2] = [
    Component {
        name: "clippy",
        file: "bin/cargo-clippy",
        why: "lints",
    },
    Component {
        name: "rustfmt",
        file: "bin/cargo-fmt",
        why: "checks the format",
    },
];

/// Makes sure that there is a `core` for BPF, of the kind asked for if one is. Says which, and
/// whether something had to be installed.
pub(crate) fn ensure(asked: Option<Core>, apt: &mut Apt) -> Result<(Core, bool)> {
    let sysroot = sysroot()?;
    let has_source = sysroot.join(RUST_SRC.file).is_file();
    let debian_lacks = packages::missing(DEBIAN_CORE, packages::is_there);
    match plan(asked, has_source, debian_lacks.is_empty()) {
        Plan::Use(core) => Ok((core, false)),
        Plan::Install(Core::Debian) => {
            apt.install(&debian_lacks)?;
            Ok((Core::Debian, true))
        }
        Plan::Install(Core::RustSrc) => match add(&RUST_SRC, &sysroot) {
            Ok(()) => Ok((Core::RustSrc, true)),
            Err(error) if asked.is_some() => Err(error),
            Err(error) => {
                out::say(format_args!("{error:#}; falling back to Debian's packages"));
                apt.install(&debian_lacks)
                    .context("there is neither rust-src nor Debian's core library for BPF")?;
                Ok((Core::Debian, true))
            }
        },
    }
}

#[derive(Debug, Eq, PartialEq)]
enum Plan {
    Use(Core),
    Install(Core),
}

/// Sources are preferred: they fit the one toolchain that everything else is built with.
fn plan(asked: Option<Core>, has_source: bool, has_debian: bool) -> Plan {
    match asked {
        None if has_source => Plan::Use(Core::RustSrc),
        None if has_debian => Plan::Use(Core::Debian),
        None => Plan::Install(Core::RustSrc),
        Some(Core::RustSrc) if has_source => Plan::Use(Core::RustSrc),
        Some(Core::Debian) if has_debian => Plan::Use(Core::Debian),
        Some(core) => Plan::Install(core),
    }
}

/// Makes sure that clippy and rustfmt are there; says whether one had to be installed.
pub(crate) fn ensure_lint_components() -> Result<bool> {
    let sysroot = sysroot()?;
    let mut added = false;
    for component in &LINT {
        if !sysroot.join(component.file).is_file() {
            add(component, &sysroot)?;
            added = true;
        }
    }
    Ok(added)
}

fn add(component: &Component, sysroot: &Path) -> Result<()> {
    let Component { name, file, why } = component;
    out::say("adding to the Rust toolchain:");
    out::list([(*name, *why)]);
    invoke::run(Command::new("rustup").args(["component", "add", name]))
        .with_context(|| format!("the Rust toolchain lacks its {name} component ({why})"))?;
    if !sysroot.join(file).is_file() {
        anyhow::bail!(
            "rustup added {name}, but {} has no {file}: is rustc from another toolchain?",
            sysroot.display()
        );
    }
    Ok(())
}

/// The folder of the toolchain in use.
fn sysroot() -> Result<PathBuf> {
    let printed = invoke::read(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(printed.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_used_and_sources_come_first() {
        assert_eq!(plan(None, true, true), Plan::Use(Core::RustSrc));
        assert_eq!(plan(None, false, true), Plan::Use(Core::Debian));
        assert_eq!(plan(None, false, false), Plan::Install(Core::RustSrc));
    }

    #[test]
    fn a_wish_is_kept_even_where_something_must_be_installed_for_it() {
        let wish = Some(Core::Debian);
        assert_eq!(plan(wish, true, true), Plan::Use(Core::Debian));
        assert_eq!(plan(wish, true, false), Plan::Install(Core::Debian));
        let wish = Some(Core::RustSrc);
        assert_eq!(plan(wish, false, true), Plan::Install(Core::RustSrc));
    }
}
