//! `cargo xtask vm`: the end-to-end tests on other kernels than this machine's, in virtual
//! machines.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};

mod boot;
mod choice;
mod kernels;
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
    out, paths,
    setup::{self, CoreChoice, Needs},
};

/// By how much an emulated machine may be slower than one that is not, where it matters to a test.
const PATIENCE: u32 = 8;
/// Machines for the tests of a kernel: where one dies, the next goes on. An emulator makes mistakes of
/// its own, such as flags of the processor that are a pointer (QEMU 7.2, once in an hour with Linux
/// 6.12). What kills the kernel by itself does so in each of them.
const MACHINES: u32 = 3;

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
        match test_on(*kernel, &archive, &programs, &choice, options) {
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

/// What the machine runs: the guard's view of the kernel, then the tests.
fn script(programs: &Programs, choice: &Choice) -> String {
    let told = programs.tested.env();
    let told = told.map(|(name, path)| format!("{name}='{}'", path.display()));
    let flowguard = programs.tested.flowguard.display();
    let tests = programs.tests.display();
    format!(
        "export {} FLOWGUARD_TEST_PATIENCE={PATIENCE}\n\
         '{flowguard}' doctor --json\n\
         # libtest tells its results in a form for programs only to who knows that it may change.\n\
         RUSTC_BOOTSTRAP=1 '{tests}' -Z unstable-options --format=json --report-time {}\n",
        told.join(" "),
        choice.args()
    )
}

/// Runs the tests on a kernel, in as many machines as it takes.
fn test_on(
    kernel: Kernel,
    archive: &Path,
    programs: &Programs,
    choice: &Choice,
    options: &TestOptions,
) -> Result<Report> {
    let image = packages::image(kernel, options.fresh)?;
    let home = paths::target()?.join("vm").join(kernel.series());
    let initramfs = home.join("initramfs.cpio");
    let deadline = Instant::now() + Duration::from_secs(options.limit * 60);
    let mut report = Report::default();
    for machine in 1..=MACHINES {
        let left = choice.without(&report.tests);
        rootfs::of_kernel(archive, &image.root, &script(programs, &left), &initramfs)?;
        let console = home.join(format!("console-{machine}.log"));
        let reported = home.join("report.json");
        out::say(format_args!("testing on {}", image.release));
        let started = Instant::now();
        let limit = deadline.saturating_duration_since(started);
        let ended = boot::boot(&image, &initramfs, &console, &reported, limit)?;
        fs::remove_file(&initramfs)?;
        let text = fs::read(&reported).with_context(|| reported.display().to_string())?;
        report.add(Report::read(&String::from_utf8_lossy(&text), kernel)?);
        out::say(format_args!(
            "{} of {} tests ended in {} s; the machine's own words are in {}",
            report.ended(),
            report.expected,
            started.elapsed().as_secs(),
            console.display()
        ));
        if report.tests.is_empty() {
            bail!(
                "no test was run; the machine's last words are in {}",
                console.display()
            );
        }
        if !ended {
            out::say(format_args!(
                "it was not done within {} minutes and was switched off",
                options.limit
            ));
        }
        if !ended || report.is_complete() {
            break;
        }
        out::say(format_args!("the machine died under its tests"));
    }
    // A column of the table must not be about another kernel than its head says.
    kernel.check(&image.release)?;
    Ok(report)
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
