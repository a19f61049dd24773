//! Which customer a source is: told by a table that a hosting panel, or a person, makes.
//!
//! A source keeps its kind and name; the table says whose it is, which package he has, and whom to
//! write to. What that comes to for rules and people is decided elsewhere.
//!
//! - [`table`]: the table as CSV, made from bytes: pure;
//! - [`read`]: the bytes, out of a file or of a command.

pub mod read;
pub mod table;

use std::{
    collections::{BTreeMap, HashMap},
    ops::RangeInclusive,
    sync::Arc,
};

use globset::GlobSet;
use serde::{Deserialize, Serialize};

use crate::model::SourceName;

/// Whose a source is. All of it is unescaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// The customer.
    pub customer: String,
    /// The hosting package he has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Whom to tell about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

/// A table of tenants. Of several lines that fit a source the first one counts.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    tenants: Vec<Arc<Tenant>>,
    /// Lines by `kind:name` or `cgroup:PATH`, where nothing in it is a wildcard.
    exact: HashMap<String, usize>,
    /// By a uid.
    uids: HashMap<u32, usize>,
    /// By a range of uids, as it was written, by its line.
    ranges: BTreeMap<usize, RangeInclusive<u32>>,
    /// Globs over the same texts as in `exact`, and the line of each.
    globs: GlobSet,
    lines_of_globs: Vec<usize>,
}

impl Mapping {
    /// Lines that name somebody.
    pub fn len(&self) -> usize {
        self.tenants.len()
    }

    /// Whether it names nobody.
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    /// Whose a source is, given the uids and the paths of cgroups that lead to it.
    pub fn tenant(
        &self,
        source: &SourceName,
        uids: impl IntoIterator<Item = u32>,
        cgroups: &[&str],
    ) -> Option<&Arc<Tenant>> {
        let name = format!("{}:{}", source.kind.name(), source.name);
        let cgroups = cgroups.iter().map(|path| format!("cgroup:{path}"));
        let by_text = std::iter::once(name)
            .chain(cgroups)
            .filter_map(|text| self.line_of_text(&text));
        let by_uid = uids.into_iter().filter_map(|uid| self.line_of_uid(uid));
        let first = by_text.chain(by_uid).min()?;
        self.tenants.get(first)
    }

    fn line_of_text(&self, text: &str) -> Option<usize> {
        let exact = self.exact.get(text).copied();
        let globs = self.globs.matches(text).into_iter();
        let globs = globs.filter_map(|glob| self.lines_of_globs.get(glob).copied());
        globs.chain(exact).min()
    }

    fn line_of_uid(&self, uid: u32) -> Option<usize> {
        let exact = self.uids.get(&uid).copied();
        let mut ranges = self.ranges.iter();
        let range = ranges.find(|(_, range)| range.contains(&uid));
        range.map(|(line, _)| *line).into_iter().chain(exact).min()
    }
}
