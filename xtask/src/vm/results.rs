//! What the virtual machine reports: the guard's own view of the kernel, and every test's end.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Deserializer, Value};

use super::kernels::{Kernel, Version};

/// How a test says that the kernel lacks what it is about (`flowguard_tests::feature`).
const ABSENT: &str = "not on this kernel, because it has no ";

/// How a test ended on one kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// As it should.
    Passed,
    /// The kernel lacks this, with the version that brought it: `TCX (Linux 6.6)`.
    Absent(String),
    /// Otherwise; what it said.
    Failed(String),
    /// It did not: the machine was switched off, or stopped, before.
    Unfinished,
}

/// What a kernel's machines reported.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Every test that was started.
    pub(crate) tests: BTreeMap<String, Outcome>,
    /// How many tests there are for this kernel.
    pub(crate) expected: usize,
    /// Instructions that the verifier walked through, by program.
    pub(crate) instructions: BTreeMap<String, u64>,
}

/// One line of libtest's JSON.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Suite {
        event: String,
        #[serde(default)]
        test_count: usize,
    },
    Test {
        event: String,
        name: String,
        #[serde(default)]
        stdout: String,
    },
}

/// `flowguard doctor --json`, the part of interest.
#[derive(Debug, Deserialize)]
struct Doctor {
    programs: Vec<Program>,
}

#[derive(Debug, Deserialize)]
struct Program {
    name: String,
    instructions: Option<u64>,
    refused: Option<String>,
}

impl Report {
    /// Reads what a machine wrote; of one that was switched off, as far as it came.
    pub(crate) fn read(text: &str, kernel: Kernel) -> Result<Self> {
        let mut report = Self::default();
        for value in Deserializer::from_str(text).into_iter::<Value>() {
            // The line that it was about to write.
            let Ok(value) = value else { break };
            if value.get("checks").is_some() {
                report.take_doctor(value)?;
            } else {
                let shown = value.to_string();
                let line = serde_json::from_value(value).with_context(|| {
                    format!("what the tests reported is not understood: {shown}")
                })?;
                report.take(line, kernel);
            }
        }
        Ok(report)
    }

    /// Adds what the next machine reported, which ran the tests that were left.
    pub(crate) fn add(&mut self, next: Self) {
        self.tests.extend(next.tests);
        self.expected = self.expected.max(next.expected);
        self.instructions.extend(next.instructions);
    }

    /// What went wrong, by test.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tests
            .iter()
            .filter_map(|(test, outcome)| match outcome {
                Outcome::Failed(why) => Some((test.as_str(), why.as_str())),
                Outcome::Unfinished => Some((test.as_str(), "it did not end\n")),
                Outcome::Passed | Outcome::Absent(_) => None,
            })
    }

    /// How many tests came to an end.
    pub(crate) fn ended(&self) -> usize {
        let outcomes = self.tests.values();
        outcomes
            .filter(|outcome| **outcome != Outcome::Unfinished)
            .count()
    }

    /// Whether all tests did that there are.
    pub(crate) fn is_complete(&self) -> bool {
        self.ended() >= self.expected.max(1)
    }

    fn take_doctor(&mut self, value: Value) -> Result<()> {
        let doctor: Doctor = serde_json::from_value(value)
            .context("what `flowguard doctor` said is not understood")?;
        // What a kernel refuses is a matter for the tests.
        let taken = doctor
            .programs
            .into_iter()
            .filter(|program| program.refused.is_none());
        for Program {
            name, instructions, ..
        } in taken
        {
            let count = instructions.with_context(|| {
                format!("`flowguard doctor` does not count the instructions of {name}")
            })?;
            self.instructions.insert(name, count);
        }
        Ok(())
    }

    fn take(&mut self, line: Line, kernel: Kernel) {
        match line {
            Line::Suite { event, test_count } if event == "started" => self.expected = test_count,
            Line::Suite { .. } => {}
            Line::Test {
                event,
                name,
                stdout,
            } => {
                let outcome = match event.as_str() {
                    // It takes long, and goes on.
                    "timeout" => return,
                    "started" => Outcome::Unfinished,
                    "ok" => Outcome::Passed,
                    "failed" => failure(stdout, kernel),
                    other => Outcome::Failed(format!("it ended in an unknown way: {other}")),
                };
                self.tests.insert(name, outcome);
            }
        }
    }
}

/// A test that says its kernel lacks something is believed if the kernel is older than that.
fn failure(said: String, kernel: Kernel) -> Outcome {
    let Some(absent) = absent(&said) else {
        return Outcome::Failed(said);
    };
    let since = absent
        .rsplit_once("(Linux ")
        .and_then(|(_, since)| Version::parse(since));
    match since {
        Some(since) if Version::parse(kernel.series()) < Some(since) => {
            Outcome::Absent(absent.to_owned())
        }
        _ => Outcome::Failed(format!("{kernel} should have it: {said}")),
    }
}

/// `TCX (Linux 6.6)` in what a test said.
fn absent(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once(ABSENT)?;
    Some(&rest[..=rest.find(')')?])
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCTOR: &str = r#"{
  "kernel": "6.1.0",
  "checks": [],
  "programs": [{"name": "edge", "instructions": 1234, "refused": null}]
}
"#;
    const TESTS: &str = r#"{ "type": "suite", "event": "started", "test_count": 4 }
{ "type": "test", "event": "started", "name": "a::passes" }
{ "type": "test", "event": "started", "name": "a::needs_more" }
{ "type": "test", "name": "a::passes", "event": "ok", "exec_time": 1.5 }
{ "type": "test", "name": "a::needs_more", "event": "failed", "stdout": "Error: not on this kernel, because it has no TCX (Linux 6.6)\n" }
{ "type": "test", "event": "started", "name": "a::hangs" }
{ "type": "test", "event": "timeout", "name": "a::hangs" }
{ "type": "test", "event": "started", "name": "a::fails" }
{ "type": "test", "name": "a::fails", "event": "failed", "stdout": "Error: 3 is not 4" }
"#;

    #[test]
    fn every_test_that_was_started_has_an_outcome() {
        let report = Report::read(&format!("{DOCTOR}{TESTS}"), Kernel::Bookworm).unwrap();
        assert_eq!(report.expected, 4);
        assert_eq!(report.instructions["edge"], 1234);
        assert_eq!(report.ended(), 3);
        assert!(!report.is_complete());
        let failures: Vec<_> = report.failures().map(|(test, _)| test).collect();
        assert_eq!(failures, ["a::fails", "a::hangs"]);
        let tests: Vec<_> = report.tests.into_iter().collect();
        let failed = |said: &str| Outcome::Failed(said.to_owned());
        let expected = [
            ("a::fails", failed("Error: 3 is not 4")),
            ("a::hangs", Outcome::Unfinished),
            (
                "a::needs_more",
                Outcome::Absent("TCX (Linux 6.6)".to_owned()),
            ),
            ("a::passes", Outcome::Passed),
        ];
        assert_eq!(
            tests,
            expected.map(|(name, outcome)| (name.to_owned(), outcome))
        );
    }

    #[test]
    fn a_kernel_that_should_have_it_is_no_excuse() {
        let report = Report::read(TESTS, Kernel::Trixie).unwrap();
        assert!(
            matches!(&report.tests["a::needs_more"], Outcome::Failed(why) if why.contains("should have it"))
        );
    }

    #[test]
    fn what_is_cut_off_in_the_middle_is_read_up_to_there() {
        let cut = &TESTS[..TESTS.find("exec_time").unwrap()];
        let report = Report::read(cut, Kernel::Sid).unwrap();
        assert_eq!(report.tests.len(), 2);
        let nothing = Report::read("", Kernel::Sid).unwrap();
        assert!(nothing.tests.is_empty() && !nothing.is_complete());
    }

    #[test]
    fn the_next_machine_ends_what_the_last_died_under() {
        let next = r#"{ "type": "suite", "event": "started", "test_count": 1 }
{ "type": "test", "event": "started", "name": "a::hangs" }
{ "type": "test", "name": "a::hangs", "event": "ok" }
"#;
        let mut report = Report::default();
        report.add(Report::read(&format!("{DOCTOR}{TESTS}"), Kernel::Bookworm).unwrap());
        report.add(Report::read(next, Kernel::Bookworm).unwrap());
        assert!(report.is_complete());
        assert_eq!((report.expected, report.instructions["edge"]), (4, 1234));
        assert_eq!(report.tests["a::hangs"], Outcome::Passed);
    }

    #[test]
    fn programs_must_be_counted() {
        let doctor = DOCTOR.replace("1234", "null");
        assert!(Report::read(&doctor, Kernel::Sid).is_err());
    }
}
