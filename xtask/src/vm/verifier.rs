//! What the programs cost the kernel's verifier: measured on every kernel, held to what is on
//! record in `xtask/verifier.toml`.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result};

use super::kernels::Kernel;
use crate::paths;

/// No program may cost more on any kernel: loading is quick, and there is room below the million
/// instructions at which the verifier gives up.
const MOST: u64 = 50_000;
/// By how many percent a program may grow without being put on record.
const GROWTH: u64 = 10;

const HEADER: &str = "\
# Instructions that the kernel's verifier walks through, by program and kernel. Written by
# `cargo xtask vm test --record`; growth by more than a tenth fails until it is put on record.

";

/// Instructions by program.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What is on record: by program, then by series of the kernel.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Record(BTreeMap<String, Counts>);

impl Record {
    /// Reads it; empty if there is none yet.
    pub(crate) fn read() -> Result<Self> {
        let path = path();
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let counts = toml::from_str(&text).with_context(|| path.display().to_string())?;
        Ok(Self(counts))
    }

    /// Puts what was measured on record.
    pub(crate) fn write(&mut self, measured: &[(Kernel, Counts)]) -> Result<()> {
        self.take(measured);
        let path = path();
        let text = format!("{HEADER}{}", toml::to_string(&self.0)?);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn take(&mut self, measured: &[(Kernel, Counts)]) {
        for (kernel, counts) in measured {
            for recorded in self.0.values_mut() {
                recorded.remove(kernel.series());
            }
            for (program, count) in counts {
                let recorded = self.0.entry(program.clone()).or_default();
                recorded.insert(kernel.series().to_owned(), *count);
            }
        }
        self.0.retain(|_, kernels| !kernels.is_empty());
    }

    /// What is wrong with what was measured, in words for the person who ran it.
    pub(crate) fn complaints(&self, measured: &[(Kernel, Counts)]) -> Vec<String> {
        let all = measured
            .iter()
            .flat_map(|(kernel, counts)| counts.iter().map(move |count| (*kernel, count)));
        all.filter_map(|(kernel, (program, count))| {
            let recorded = self.0.get(program).and_then(|on| on.get(kernel.series()));
            complaint(*count, recorded.copied()).map(|what| {
                format!("{program} costs the verifier of {kernel} {count} instructions, {what}")
            })
        })
        .collect()
    }
}

/// What was measured, for whoever ran it.
pub(crate) fn render(measured: &[(Kernel, Counts)]) -> String {
    let mut text = String::new();
    for (kernel, counts) in measured {
        text.push_str(&format!("instructions verified by {kernel}:\n"));
        for (program, count) in counts {
            text.push_str(&format!("  {program:<16} {count:>6}\n"));
        }
    }
    text
}

fn complaint(count: u64, recorded: Option<u64>) -> Option<String> {
    if count > MOST {
        return Some(format!("more than {MOST}"));
    }
    match recorded {
        None => Some("which is not on record: run with `--record`".to_owned()),
        Some(recorded) if count * 100 > recorded * (100 + GROWTH) => Some(format!(
            "{recorded} are on record: make it cheaper, or run with `--record` and say why"
        )),
        Some(_) => None,
    }
}

fn path() -> PathBuf {
    paths::root().join("xtask/verifier.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(kernel: Kernel, program: &str, count: u64) -> Vec<(Kernel, Counts)> {
        vec![(kernel, Counts::from([(program.to_owned(), count)]))]
    }

    #[test]
    fn growth_by_a_tenth_is_allowed_and_more_is_not() {
        let mut record = Record::default();
        assert_eq!(
            record
                .complaints(&measured(Kernel::Sid, "edge", 1000))
                .len(),
            1
        );
        record.take(&measured(Kernel::Sid, "edge", 1000));
        for (count, complaints) in [(1, 0), (1000, 0), (1100, 0), (1101, 1)] {
            let found = record.complaints(&measured(Kernel::Sid, "edge", count));
            assert_eq!(found.len(), complaints, "{count}: {found:?}");
        }
        assert_eq!(
            record
                .complaints(&measured(Kernel::Trixie, "edge", 1))
                .len(),
            1
        );
    }

    #[test]
    fn nothing_on_record_excuses_too_much() {
        let mut record = Record::default();
        record.take(&measured(Kernel::Sid, "edge", MOST + 1));
        let found = record.complaints(&measured(Kernel::Sid, "edge", MOST + 1));
        assert!(found[0].contains("more than 50000"), "{found:?}");
        record.take(&measured(Kernel::Sid, "edge", MOST));
        assert!(
            record
                .complaints(&measured(Kernel::Sid, "edge", MOST))
                .is_empty()
        );
    }

    #[test]
    fn a_record_keeps_other_kernels_and_forgets_programs_that_are_gone() {
        let mut record = Record::default();
        record.take(&measured(Kernel::Sid, "edge", 1));
        record.take(&measured(Kernel::Trixie, "edge", 2));
        record.take(&measured(Kernel::Sid, "connect4", 3));
        let text = toml::to_string(&record.0).unwrap();
        assert_eq!(text, "[connect4]\n\"7.2\" = 3\n\n[edge]\n\"6.12\" = 2\n");
        assert_eq!(Record(toml::from_str(&text).unwrap()), record);
    }
}
