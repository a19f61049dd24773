//! Which tests a machine runs.

use std::collections::{BTreeMap, BTreeSet};

use super::results::Outcome;

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

    /// Those that did not come to an end yet.
    pub(crate) fn without(&self, outcomes: &BTreeMap<String, Outcome>) -> Self {
        let is_left = |test: &&String| {
            outcomes
                .get(*test)
                .is_none_or(|outcome| *outcome == Outcome::Unfinished)
        };
        let tests: Vec<_> = self.tests.iter().filter(is_left).cloned().collect();
        Self {
            are_all: self.are_all && tests.len() == self.tests.len(),
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

    #[test]
    fn what_a_machine_died_under_is_left_for_the_next() {
        let all = strings(["count::one", "count::two", "edge::one"]).to_vec();
        let all = Choice::of(&all, &[], &[], &BTreeSet::new());
        assert_eq!(all.without(&BTreeMap::new()), all);
        let outcomes = [
            ("count::one", Outcome::Passed),
            ("count::two", Outcome::Unfinished),
        ];
        let outcomes = outcomes.map(|(test, outcome)| (test.to_owned(), outcome));
        let left = all.without(&BTreeMap::from(outcomes));
        assert_eq!(left.args(), "--exact count::two edge::one");
    }
}
