//! The programs under test, as cargo built them.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::choice;
use crate::{
    build::{self, Tested},
    invoke,
    setup::Ready,
};

/// The crate and the name of the end-to-end tests.
const PACKAGE: &str = "flowguard-tests";
const TESTS: &str = "e2e";
/// Cargo's profile for programs that an emulator runs.
const PROFILE: &str = "vm";

/// The programs under test, by absolute paths.
#[derive(Debug)]
pub(crate) struct Programs {
    /// `flowguard`, in the forms that are tested.
    pub(crate) tested: Tested,
    /// The end-to-end tests.
    pub(crate) tests: PathBuf,
    /// The BPF programs by themselves, which some tests load.
    pub(crate) objects: [PathBuf; 2],
    /// What the tests start.
    helpers: Vec<PathBuf>,
}

impl Programs {
    /// Builds them.
    pub(crate) fn build(ready: &Ready) -> Result<Self> {
        let tested = build::tested(ready, PROFILE)?;
        let mut cargo = invoke::cargo();
        cargo.args(["test", "--package", PACKAGE, "--test", TESTS, "--no-run"]);
        cargo.args(["--profile", PROFILE]);
        cargo.arg("--message-format=json-render-diagnostics");
        let built = built(&invoke::read(cargo.stderr(Stdio::inherit()))?);
        let is_tests = |program: &Built| program.target.name == TESTS;
        let tests = built.iter().find(|program| is_tests(program));
        Ok(Self {
            tested,
            tests: tests
                .map(|program| program.executable.clone())
                .with_context(|| format!("cargo built no tests called {TESTS}"))?,
            objects: build::object_paths()?,
            helpers: built
                .into_iter()
                .filter(|program| !is_tests(program))
                .map(|program| program.executable)
                .collect(),
        })
    }

    /// The names of the tests.
    pub(crate) fn list(&self) -> Result<Vec<String>> {
        let mut tests = Command::new(&self.tests);
        tests.args(["--list", "--format=terse"]);
        Ok(choice::names(&invoke::read(&mut tests)?))
    }

    /// All that this machine's processor runs.
    pub(crate) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.tested.flowguard, &self.tested.grown, &self.tests]
            .into_iter()
            .chain(&self.helpers)
    }
}

/// What cargo says when it has built something that can be run.
#[derive(Debug, Deserialize)]
struct Built {
    executable: PathBuf,
    target: Target,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

fn built(messages: &str) -> Vec<Built> {
    // Most messages are about something else, and have no executable.
    messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_run_is_a_program() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"nix"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"e2e"},"executable":"/t/deps/e2e-1"}
{"reason":"build-finished","success":true}"#;
        let programs = built(messages);
        assert_eq!(programs.len(), 1);
        assert_eq!(programs[0].target.name, "e2e");
    }
}
