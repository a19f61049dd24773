//! `cargo xtask vm`: the end-to-end tests on other kernels than this machine's, in virtual
//! machines.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

mod boot;
mod choice;
mod kernels;
mod machines;
mod packages;
mod programs;
mod results;
mod rootfs;
mod table;
mod verifier;

use self::{
    choice::Choice,
    kernels::Kernel,
    programs::Programs,
    results::Report,
    table::{Found, Table},
    verifier::Record,
};
use crate::{
    out,
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
/// qemu and a few tools. The machines are emulated: they need nothing of this machine's kernel or
/// processor, and no root. What comes of it is written into docs/kernels.md.
#[derive(Args, Debug)]
struct TestOptions {
    /// Kernels to test on; all of them if none is named.
    #[arg(value_enum)]
    kernels: Vec<Kernel>,

    /// Run only tests whose names contain one of these.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    filter: Vec<String>,

    /// Run no tests whose names contain one of these.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    skip: Vec<String>,

    /// Run only tests that docs/kernels.md does not say to pass, or to be about what a kernel lacks.
    #[arg(long)]
    missing: bool,

    /// Leave docs/kernels.md as it is.
    #[arg(long)]
    no_table: bool,

    /// Put on record what the programs cost the verifiers of these kernels.
    #[arg(long)]
    record: bool,

    /// Fetch the newest point releases, even if kernels were fetched before.
    #[arg(long)]
    fresh: bool,

    /// Switch a machine off after so many minutes. What it tested until then counts.
    #[arg(long, value_name = "MINUTES", default_value_t = 40)]
    limit: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.command {
        Command::Test(options) => test(options),
    }
}

fn test(options: &TestOptions) -> Result<()> {
    let ready = setup::ensure(Needs::Vm, CoreChoice::default())?;
    let programs = Programs::build(&ready)?;
    let all = programs.list()?;
    if Choice::of(&all, &options.filter, &options.skip, &BTreeSet::new())
        .tests
        .is_empty()
    {
        bail!("there is no such test: see --filter and --skip");
    }
    let archive = rootfs::archive(&programs)?;
    let kernels = match &options.kernels[..] {
        [] => &Kernel::ALL[..],
        some => some,
    };
    let mut reports = Vec::new();
    let mut wrong = Vec::new();
    for kernel in kernels {
        let done = if options.missing {
            table::settled(*kernel)?
        } else {
            BTreeSet::new()
        };
        let choice = Choice::of(&all, &options.filter, &options.skip, &done);
        if choice.tests.is_empty() {
            out::say(format_args!("no test to run on Linux {kernel}"));
            continue;
        }
        match machines::test_on(*kernel, &archive, &programs, &choice, options) {
            Ok(report) => reports.push(Tested {
                kernel: *kernel,
                are_all: choice.are_all && report.is_complete(),
                report,
            }),
            Err(error) => wrong.push(format!("{kernel}: {error:#}")),
        }
    }
    wrong.extend(conclude(kernels, reports, options)?);
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n  "));
    }
    Ok(())
}

/// What a kernel's tests came to.
struct Tested {
    kernel: Kernel,
    report: Report,
    /// They are all the tests there are.
    are_all: bool,
}

/// Shows what was found, keeps it, and tells what is wrong.
fn conclude(
    kernels: &[Kernel],
    reports: Vec<Tested>,
    options: &TestOptions,
) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut table = Table::default();
    for Tested { kernel, report, .. } in &reports {
        for (test, why) in report.failures() {
            out::say(format_args!("{test} on {kernel}:\n{why}"));
            wrong.push(format!("{kernel}: {test}"));
        }
        if !report.is_complete() {
            wrong.push(format!(
                "{kernel}: {} of {} tests ended",
                report.ended(),
                report.expected
            ));
        }
        table.take(*kernel, &report.tests, true);
    }
    out::show(&table.render(kernels));
    if !options.no_table {
        let found: Vec<_> = reports
            .iter()
            .map(|tested| Found {
                kernel: tested.kernel,
                outcomes: &tested.report.tests,
                are_all: tested.are_all,
            })
            .collect();
        table::write(&found)?;
    }

    let counts: Vec<_> = reports
        .into_iter()
        .map(|tested| (tested.kernel, tested.report.instructions))
        .collect();
    out::show(&verifier::render(&counts));
    let mut record = Record::read()?;
    if options.record {
        record.write(&counts)?;
    }
    wrong.extend(record.complaints(&counts));
    Ok(wrong)
}
