//! `cargo xtask setup`: from a machine that has only Rust to one that builds flowguard.
//!
//! Everything is looked for before it is installed, so a second run does nothing and needs no
//! network.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{out, tool::Tool};

mod apt;
mod core;
pub(crate) mod packages;

pub(crate) use self::core::Core;
use self::{apt::Apt, packages::Package};

/// Links the BPF programs and writes their types (BTF).
const LINKER: Tool = Tool {
    name: "bpf-linker",
    version: "0.13.0",
    why: "the linker for BPF programs",
    options: &["--no-default-features", "--features", "llvm-22"],
};

/// Installs what building flowguard needs and this machine lacks.
///
/// On Debian and Ubuntu, packages are installed with apt-get (through sudo when not root). On
/// other systems it says what is missing and stops. Nothing is done twice.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// What the machine should be able to do.
    #[arg(value_enum, default_value_t = Needs::Build)]
    needs: Needs,

    #[command(flatten)]
    core: CoreChoice,
}

/// Where the BPF programs' `core` library comes from, when it is not to be found out.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct CoreChoice {
    /// Take the BPF programs' `core` library from here, even where another could be used.
    #[arg(long = "core", value_enum, hide = true)]
    choice: Option<Core>,
}

/// What a machine is set up for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Needs {
    /// Build the BPF programs and the flowguard binary.
    Build,
    /// Build, and check format, lints and documentation.
    Lint,
    /// Build, and run the demo on this kernel.
    Demo,
    /// Build, and run the tests on this kernel.
    Test,
    /// Build, and run the tests on other kernels, in virtual machines.
    Vm,
    /// Build, and fuzz what reads bytes of strangers.
    Fuzz,
}

/// What a machine that is set up has.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Where the BPF programs' `core` library comes from.
    pub(crate) core: Core,
    /// The linker for the BPF programs.
    pub(crate) linker: PathBuf,
    /// Whether everything was there already.
    untouched: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if ensure(options.needs, options.core)?.untouched {
        out::say("everything is there; nothing to install");
    } else {
        out::say("everything is there now");
    }
    Ok(())
}

/// Installs what is missing for `needs`, or says what is missing and fails.
pub(crate) fn ensure(needs: Needs, core: CoreChoice) -> Result<Ready> {
    let mut apt = Apt::default();
    let linker_works = LINKER.works()?;

    let wanted = packages::missing(tables(needs, linker_works), packages::is_there);
    apt.install(&wanted)?;

    let components_added = needs == Needs::Lint && core::ensure_lint_components()?;
    let (core, core_added) = core::ensure(core.choice, &mut apt)?;
    if !linker_works {
        LINKER.install()?;
    }

    Ok(Ready {
        core,
        linker: LINKER.path()?,
        untouched: wanted.is_empty() && !components_added && !core_added && linker_works,
    })
}

/// The tables of packages that `needs` draws on. What only building the linker needs is left
/// out where the linker is there.
fn tables(needs: Needs, linker_works: bool) -> impl Iterator<Item = &'static Package> {
    let linker = (!linker_works).then_some(packages::LINKER);
    let network =
        matches!(needs, Needs::Demo | Needs::Test | Needs::Vm).then_some(packages::NETWORK);
    let test = matches!(needs, Needs::Test | Needs::Vm).then_some(packages::TEST);
    let vm = (needs == Needs::Vm).then_some(packages::VM);
    let fuzz = (needs == Needs::Fuzz).then_some(packages::FUZZ);
    [Some(packages::BUILD), linker, network, test, vm, fuzz]
        .into_iter()
        .flatten()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(needs: Needs, linker_works: bool) -> Vec<&'static str> {
        tables(needs, linker_works).map(|p| p.name).collect()
    }

    #[test]
    fn building_needs_llvm_only_until_the_linker_is_built() {
        assert!(names(Needs::Build, false).contains(&"llvm-22-dev"));
        assert!(!names(Needs::Build, true).contains(&"llvm-22-dev"));
        assert!(names(Needs::Build, true).contains(&"gcc"));
    }

    #[test]
    fn only_tests_need_the_packages_for_tests() {
        assert!(names(Needs::Test, true).contains(&"postfix"));
        assert!(names(Needs::Test, true).contains(&"gcc"));
        assert!(!names(Needs::Build, false).contains(&"postfix"));
        assert!(!names(Needs::Lint, false).contains(&"postfix"));
    }

    #[test]
    fn virtual_machines_are_for_tests_on_other_kernels() {
        assert!(names(Needs::Vm, true).contains(&"qemu-system-x86"));
        assert!(names(Needs::Vm, true).contains(&"nftables"));
        assert!(!names(Needs::Test, true).contains(&"qemu-system-x86"));
    }

    #[test]
    fn the_demo_needs_networks_and_no_mail_server() {
        assert!(names(Needs::Demo, true).contains(&"iproute2"));
        assert!(names(Needs::Test, true).contains(&"iproute2"));
        assert!(!names(Needs::Demo, true).contains(&"postfix"));
        assert!(!names(Needs::Build, false).contains(&"iproute2"));
    }
}
