//! Which interfaces are edges, told by their names.

use globset::{Glob, GlobSet, GlobSetBuilder};

/// Globs on interface names: those that are edges, and exceptions from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeNames {
    include: Globs,
    exclude: Globs,
}

impl EdgeNames {
    pub(super) fn new(include: Globs, exclude: Globs) -> Self {
        Self { include, exclude }
    }

    /// Whether the interface is an edge, by its name.
    pub fn matches(&self, name: &str) -> bool {
        self.include.set.is_match(name) && !self.excludes(name)
    }

    /// Whether the interface is none, whatever else is said of it.
    pub fn excludes(&self, name: &str) -> bool {
        self.exclude.set.is_match(name)
    }
}

/// Compiled globs with their sources.
#[derive(Clone, Debug)]
pub(super) struct Globs {
    patterns: Vec<String>,
    set: GlobSet,
}

impl Globs {
    pub(super) fn new(globs: &[Glob]) -> Result<Self, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            set.add(glob.clone());
        }
        Ok(Self {
            patterns: globs.iter().map(|glob| glob.glob().to_owned()).collect(),
            set: set.build()?,
        })
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        self.set.is_match(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

impl PartialEq for Globs {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for Globs {}
