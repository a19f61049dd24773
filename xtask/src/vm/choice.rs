//! Which tests a machine runs.

use std::collections::BTreeSet;

/// Names of tests.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Choice {
    pub(crate) tests: Vec<String>,
    /// None was left out.
    pub(crate) are_all: bool,
}

impl Choice {
    /// Of all tests those whose names contain one of `filter`, if there is one, and none of `skip`,
    /// and that are not in `done`.
    pub(crate) fn of(
        all: &[String],
        filter: &[String],
        skip: &[String],
        done: &BTreeSet<String>,
    ) -> Self {
        let contains_one =
            |test: &str, parts: &[String]| parts.iter().any(|part| test.contains(part.as_str()));
        let is_chosen = |test: &&String| {
            (filter.is_empty() || contains_one(test, filter))
                && !contains_one(test, skip)
                && !done.contains(*test)
        };
        let tests: Vec<_> = all.iter().filter(is_chosen).cloned().collect();
        Self {
            are_all: tests.len() == all.len(),
            tests,
        }
    }

    /// As arguments of a test program, words for a shell: names of tests are paths in Rust.
    pub(crate) fn args(&self) -> String {
        if self.are_all {
            String::new()
        } else {
            format!("--exact {}", self.tests.join(" "))
        }
    }
}

/// The names in what a test program prints when it is asked for a list.
pub(crate) fn names(list: &str) -> Vec<String> {
    list.lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .map(ToOwned::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings<const N: usize>(names: [&str; N]) -> Vec<String> {
        names.map(ToOwned::to_owned).into()
    }

    #[test]
    fn tests_are_chosen_by_parts_of_their_names_and_by_what_is_known() {
        let all =
            names("count::one: test\ncount::two: test\nedge::one: test\n\n3 tests, 0 benchmarks\n");
        let none = BTreeSet::new();
        let whole = Choice::of(&all, &[], &[], &none);
        assert_eq!((&whole.tests, whole.are_all), (&all, true));
        assert_eq!(whole.args(), "");
        let some = Choice::of(
            &all,
            &strings(["one", "edge"]),
            &strings(["count::o"]),
            &none,
        );
        assert_eq!(
            (some.args().as_str(), some.are_all),
            ("--exact edge::one", false)
        );
        let done = BTreeSet::from(["count::one".to_owned(), "gone::one".to_owned()]);
        let missing = Choice::of(&all, &[], &[], &done);
        assert_eq!(missing.tests, ["count::two", "edge::one"]);
    }
}
