//! The table of tests by kernel: for whoever ran them, and in `docs/kernels.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::{Context as _, Result};

use super::{kernels::Kernel, results::Outcome};
use crate::paths;

const BEGIN: &str = "<!-- begin: cargo xtask vm test -->\n";
const END: &str = "<!-- end: cargo xtask vm test -->";
/// What stands where a test has not been run on a kernel.
const UNKNOWN: &str = "";

/// What stands where it failed.
const FAILED: &str = "**fail**";

/// Outcomes in words, by test and kernel.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Table(BTreeMap<String, BTreeMap<Kernel, String>>);

impl Table {
    /// Takes what a kernel's tests came to, those that ended. If they are all there are, nothing
    /// else that was known of that kernel is kept.
    pub(crate) fn take(
        &mut self,
        kernel: Kernel,
        outcomes: &BTreeMap<String, Outcome>,
        are_all: bool,
    ) {
        if are_all {
            for cells in self.0.values_mut() {
                cells.remove(&kernel);
            }
        }
        for (test, outcome) in outcomes {
            let cell = match outcome {
                Outcome::Passed => "pass".to_owned(),
                Outcome::Absent(feature) => format!("no {feature}"),
                Outcome::Failed(_) => FAILED.to_owned(),
                Outcome::Unfinished => continue,
            };
            self.0.entry(test.clone()).or_default().insert(kernel, cell);
        }
        self.0.retain(|_, cells| !cells.is_empty());
    }

    /// As Markdown, which is legible as it is: rows by name, one column for each of `kernels`.
    pub(crate) fn render(&self, kernels: &[Kernel]) -> String {
        let mut rows = vec![header(kernels)];
        for (test, cells) in &self.0 {
            let cell = |kernel| cells.get(kernel).map_or(UNKNOWN, String::as_str).to_owned();
            let name = format!("`{test}`");
            rows.push([name].into_iter().chain(kernels.iter().map(cell)).collect());
        }
        let width = |column: usize| {
            let widths = rows
                .iter()
                .filter_map(|row| row.get(column).map(String::len));
            widths.max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..=kernels.len()).map(width).collect();
        rows.insert(1, widths.iter().map(|width| "-".repeat(*width)).collect());
        let mut text = String::new();
        for row in rows {
            for (cell, width) in row.iter().zip(&widths) {
                text.push_str(&format!("| {cell:width$} "));
            }
            text.push_str("|\n");
        }
        text
    }

    /// Reads what [`Table::render`] wrote.
    fn parse(text: &str) -> Self {
        let mut rows = text.lines().map(|line| {
            let cells = line.trim().trim_matches('|').split('|');
            cells
                .map(str::trim)
                .map(ToOwned::to_owned)
                .collect::<Vec<_>>()
        });
        let head = rows.next().unwrap_or_default();
        let kernels: Vec<_> = head
            .iter()
            .skip(1)
            .map(|series| Kernel::of_series(series))
            .collect();
        let mut table = BTreeMap::new();
        for row in rows.skip(1) {
            let mut cells = row.into_iter();
            let Some(test) = cells.next() else { continue };
            let known = kernels
                .iter()
                .zip(cells)
                .filter(|(_, cell)| cell != UNKNOWN);
            let cells = known
                .filter_map(|(kernel, cell)| Some(((*kernel)?, cell)))
                .collect();
            table.insert(test.trim_matches('`').to_owned(), cells);
        }
        Self(table)
    }
}

fn header(kernels: &[Kernel]) -> Vec<String> {
    let series = kernels.iter().map(|kernel| kernel.series().to_owned());
    ["test".to_owned()].into_iter().chain(series).collect()
}

/// What one kernel's tests came to.
pub(crate) struct Found<'a> {
    pub(crate) kernel: Kernel,
    pub(crate) outcomes: &'a BTreeMap<String, Outcome>,
    /// They are all the tests there are.
    pub(crate) are_all: bool,
}

/// Where the table is.
fn page() -> PathBuf {
    paths::root().join("docs/kernels.md")
}

/// Puts what was found into the documentation, where it leaves the other kernels' columns alone, and
/// other tests' rows unless all were run.
pub(crate) fn write(found: &[Found<'_>]) -> Result<()> {
    let path = page();
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let text = put(&text, found).with_context(|| path.display().to_string())?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The tests of which the documentation says that they pass on a kernel, or what it lacks for them.
pub(crate) fn settled(kernel: Kernel) -> Result<BTreeSet<String>> {
    let path = page();
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (_, table, _) = split(&text).with_context(|| path.display().to_string())?;
    Ok(settled_in(&Table::parse(table), kernel))
}

fn settled_in(table: &Table, kernel: Kernel) -> BTreeSet<String> {
    let is_settled =
        |cells: &BTreeMap<Kernel, String>| cells.get(&kernel).is_some_and(|cell| cell != FAILED);
    let rows = table.0.iter().filter(|(_, cells)| is_settled(cells));
    rows.map(|(test, _)| test.clone()).collect()
}

/// A page's text before the table, the table, and the text after it.
fn split(text: &str) -> Result<(&str, &str, &str)> {
    let (before, rest) = text
        .split_once(BEGIN)
        .context("there is no mark where the table begins")?;
    let (table, after) = rest
        .split_once(END)
        .context("there is no mark where the table ends")?;
    Ok((before, table, after))
}

fn put(text: &str, found: &[Found<'_>]) -> Result<String> {
    let (before, old, after) = split(text)?;
    let mut table = Table::parse(old);
    for one in found {
        table.take(one.kernel, one.outcomes, one.are_all);
    }
    Ok(format!(
        "{before}{BEGIN}{}{END}{after}",
        table.render(&Kernel::ALL)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(list: &[(&str, Outcome)]) -> BTreeMap<String, Outcome> {
        let owned = list
            .iter()
            .map(|(test, outcome)| ((*test).to_owned(), outcome.clone()));
        owned.collect()
    }

    fn found(kernel: Kernel, outcomes: &BTreeMap<String, Outcome>, are_all: bool) -> Found<'_> {
        Found {
            kernel,
            outcomes,
            are_all,
        }
    }

    #[test]
    fn a_kernels_column_is_replaced_and_the_others_stay() {
        let old = outcomes(&[
            (
                "edge::clsact",
                Outcome::Absent("TCX (Linux 6.6)".to_owned()),
            ),
            ("edge::gone", Outcome::Passed),
            ("count::all", Outcome::Passed),
        ]);
        let text = format!("# Kernels\n\n{BEGIN}{END}\n\nMore.\n");
        let both = [Kernel::Bookworm, Kernel::Sid].map(|kernel| found(kernel, &old, true));
        let text = put(&text, &both).unwrap();
        let new = outcomes(&[
            ("edge::clsact", Outcome::Passed),
            ("count::all", Outcome::Failed("why".to_owned())),
            ("edge::hangs", Outcome::Unfinished),
        ]);
        let one = [found(Kernel::Sid, &new, true)];
        let text = put(&text, &one).unwrap();
        let expected = "\
# Kernels

<!-- begin: cargo xtask vm test -->
| test           | 5.10 | 6.1                | 6.12 | 7.2      |
| -------------- | ---- | ------------------ | ---- | -------- |
| `count::all`   |      | pass               |      | **fail** |
| `edge::clsact` |      | no TCX (Linux 6.6) |      | pass     |
| `edge::gone`   |      | pass               |      |          |
<!-- end: cargo xtask vm test -->

More.
";
        assert_eq!(text, expected);
        assert_eq!(put(&text, &one).unwrap(), expected, "it is stable");
        let table = Table::parse(split(&text).unwrap().1);
        let settled = settled_in(&table, Kernel::Sid);
        assert_eq!(settled, BTreeSet::from(["edge::clsact".to_owned()]));
        let some = put(&text, &[found(Kernel::Bookworm, &new, false)]).unwrap();
        assert!(some.contains("edge::gone"), "it was not asked: {some}");
        let text = put(&text, &[found(Kernel::Bookworm, &new, true)]).unwrap();
        assert!(
            !text.contains("edge::gone"),
            "a test that is gone leaves no row: {text}"
        );
    }

    #[test]
    fn a_page_without_marks_is_left_alone() {
        assert!(put("# Kernels\n", &[]).is_err());
    }
}
