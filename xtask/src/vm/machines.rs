//! The machines that run the tests of one kernel.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    TestOptions, boot,
    choice::Choice,
    kernels::Kernel,
    packages::{self, Image},
    programs::Programs,
    results::Report,
    rootfs,
};
use crate::{out, paths};

/// By how much an emulated machine may be slower than one that is not, where it matters to a test.
const PATIENCE: u32 = 8;
/// Machines for the tests of a kernel: where one dies, the next goes on. An emulator makes mistakes of
/// its own, such as flags of the processor that are a pointer (QEMU 7.2, once in an hour with Linux
/// 6.12). What kills the kernel by itself does so in each of them.
const MACHINES: u32 = 3;

/// Runs the tests on a kernel, in as many machines as it takes.
pub(super) fn test_on(
    kernel: Kernel,
    archive: &Path,
    programs: &Programs,
    choice: &Choice,
    options: &TestOptions,
) -> Result<Report> {
    let machines = Machines {
        kernel,
        image: packages::image(kernel, options.fresh)?,
        home: paths::target()?.join("vm").join(kernel.series()),
        archive,
        programs,
        deadline: Instant::now() + Duration::from_secs(options.limit * 60),
    };
    let mut report = Report::default();
    for number in 1..=MACHINES {
        let (found, ended) = machines.run(number, &choice.without(&report.tests))?;
        report.add(found);
        if report.tests.is_empty() {
            bail!(
                "no test was run; the machine's last words are in {}",
                machines.console(number).display()
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
    kernel.check(&machines.image.release)?;
    Ok(report)
}

/// What a kernel's machines are made of.
struct Machines<'a> {
    kernel: Kernel,
    image: Image,
    /// Where they leave what they say.
    home: PathBuf,
    archive: &'a Path,
    programs: &'a Programs,
    deadline: Instant,
}

impl Machines<'_> {
    /// Runs tests in a machine of their own: what they came to, and whether it ended in time.
    fn run(&self, number: u32, choice: &Choice) -> Result<(Report, bool)> {
        let initramfs = self.home.join("initramfs.cpio");
        let script = self.script(choice);
        rootfs::of_kernel(self.archive, &self.image.root, &script, &initramfs)?;
        let console = self.console(number);
        let reported = self.home.join("report.json");
        out::say(format_args!("testing on {}", self.image.release));
        let started = Instant::now();
        let limit = self.deadline.saturating_duration_since(started);
        let ended = boot::boot(&self.image, &initramfs, &console, &reported, limit)?;
        fs::remove_file(&initramfs)?;
        let text = fs::read(&reported).with_context(|| reported.display().to_string())?;
        let found = Report::read(&String::from_utf8_lossy(&text), self.kernel)?;
        out::say(format_args!(
            "{} of {} tests ended in {} s; the machine's own words are in {}",
            found.ended(),
            found.expected,
            started.elapsed().as_secs(),
            console.display()
        ));
        Ok((found, ended))
    }

    /// The file with the machine's own words.
    fn console(&self, number: u32) -> PathBuf {
        self.home.join(format!("console-{number}.log"))
    }

    /// What the machine runs: the guard's view of the kernel, then the tests.
    fn script(&self, choice: &Choice) -> String {
        let told = self.programs.tested.env();
        let told = told.map(|(name, path)| format!("{name}='{}'", path.display()));
        let flowguard = self.programs.tested.flowguard.display();
        let tests = self.programs.tests.display();
        format!(
            "export {} FLOWGUARD_TEST_PATIENCE={PATIENCE}\n\
             '{flowguard}' doctor --json\n\
             # libtest tells its results in a form for programs only to who knows that it may change.\n\
             RUSTC_BOOTSTRAP=1 '{tests}' -Z unstable-options --format=json --report-time {}\n",
            told.join(" "),
            choice.args()
        )
    }
}
