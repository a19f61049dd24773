//! `cargo xtask vm`: the end-to-end tests on other kernels than this machine's, in virtual
//! machines.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};

mod boot;
mod kernels;
mod packages;
mod programs;
mod results;
mod rootfs;

use self::{
    kernels::Kernel,
    programs::Programs,
    results::{Outcome, Report},
};
use crate::{
    invoke, out, paths,
    setup::{self, CoreChoice, Needs},
};

/// Runs the end-to-end tests on Debian's kernels, in virtual machines.
#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Test(TestOptions),
}

/// Runs the end-to-end tests on these kernels, or on all.
///
/// Kernels come from Debian's packages and are kept under `target/vm`; nothing is installed but
/// qemu and a few tools. The machines are emulated, so they need no support by this one's
/// processor, and no root.
#[derive(Args, Debug)]
struct TestOptions {
    /// Kernels to test on; all of them if none is named.
    #[arg(value_enum)]
    kernels: Vec<Kernel>,

    /// Run only tests whose names contain this.
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,

    /// Fetch the newest point releases, even if kernels were fetched before.
    #[arg(long)]
    fresh: bool,

    /// Switch a machine off after so many minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = 40)]
    limit: u64,
}

/// By how much an emulated machine may be slower than one that is not, where it matters to a test.
const PATIENCE: u32 = 8;

pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.command {
        Command::Test(options) => test(options),
    }
}

fn test(options: &TestOptions) -> Result<()> {
    let ready = setup::ensure(Needs::Vm, CoreChoice::default())?;
    let programs = Programs::build(&ready)?;
    let archive = rootfs::archive(&programs, &script(&programs, options.filter.as_deref())?)?;
    let kernels = match &options.kernels[..] {
        [] => &Kernel::ALL[..],
        some => some,
    };
    let mut failed = Vec::new();
    for kernel in kernels {
        let report = test_on(*kernel, &archive, options)?;
        print(*kernel, &report);
        failed.extend(
            report
                .tests
                .iter()
                .filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_)))
                .map(|(name, _)| format!("{name} on {kernel}")),
        );
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// What the machine runs: the guard's view of the kernel, then the tests.
fn script(programs: &Programs, filter: Option<&str>) -> Result<String> {
    let filter = filter.unwrap_or_default();
    if !filter
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
    {
        bail!("{filter:?} cannot be a part of a test's name");
    }
    let flowguard = programs.flowguard.display();
    let tests = programs.tests.display();
    Ok(format!(
        "export FLOWGUARD_BIN='{flowguard}' FLOWGUARD_TEST_PATIENCE={PATIENCE}\n\
         '{flowguard}' doctor --json\n\
         # libtest tells its results in a form for programs only to who knows that it may change.\n\
         RUSTC_BOOTSTRAP=1 '{tests}' -Z unstable-options --format=json --report-time {filter}\n"
    ))
}

fn test_on(kernel: Kernel, archive: &Path, options: &TestOptions) -> Result<Report> {
    let image = packages::image(kernel, options.fresh)?;
    let home = paths::target()?.join("vm").join(kernel.series());
    let initramfs = home.join("initramfs.cpio");
    rootfs::with_modules(archive, &image.root, &initramfs)?;
    let (console, reported) = (home.join("console.log"), home.join("report.json"));
    out::say(format_args!("testing on {}", image.release));
    let limit = Duration::from_secs(options.limit * 60);
    let ended = boot::boot(&image, &initramfs, &console, &reported, limit)?;
    let text = fs::read(&reported).with_context(|| reported.display().to_string())?;
    let report = Report::read(&String::from_utf8_lossy(&text), kernel)?;
    if !ended {
        out::say(format_args!(
            "{kernel} was not done within {} minutes and was switched off",
            options.limit
        ));
    }
    if report.tests.is_empty() {
        bail!(
            "no test was run on {kernel}; what it said is in {}",
            console.display()
        );
    }
    Ok(report)
}

fn print(kernel: Kernel, report: &Report) {
    for (name, outcome) in &report.tests {
        let seconds = report.seconds.get(name).copied().unwrap_or_default();
        match outcome {
            Outcome::Passed => out::say(format_args!("{kernel}: {name}: passed in {seconds:.1} s")),
            Outcome::Absent(what) => out::say(format_args!("{kernel}: {name}: no {what}")),
            Outcome::Failed(why) => out::say(format_args!("{kernel}: {name}: FAILED\n{why}")),
        }
    }
}
