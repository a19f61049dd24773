//! Globs that pick sources by `kind:name`.

use flowguard_common::source::Kind;
use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::model::{SourceName, escape};

/// Every kind that a glob can name.
const KINDS: [Kind; 4] = [Kind::User, Kind::Container, Kind::Iface, Kind::Addr];

/// A list of globs over `kind:name`, such as `user:*` or `container:shop-??`.
#[derive(Clone, Debug)]
pub struct SourceGlobs {
    patterns: Vec<String>,
    set: GlobSet,
}

/// Why a glob cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceGlobsError {
    /// It could not match any source.
    #[error(
        "`{}` fits no source: write user:NAME, container:NAME, iface:NAME, addr:IP, or `*` for all{}",
        escape(pattern),
        nearest.map(|kind| format!(" (did you mean `{kind}:`?)")).unwrap_or_default()
    )]
    NoKind {
        /// The glob.
        pattern: String,
        /// The kind that was probably meant.
        nearest: Option<&'static str>,
    },
    /// It is no glob.
    #[error("`{}` is no glob: {reason}", escape(pattern))]
    NoGlob {
        /// The glob.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl SourceGlobs {
    /// Compiles the globs.
    ///
    /// # Errors
    ///
    /// The first glob that is malformed or that names no kind of source.
    pub fn new(patterns: Vec<String>) -> Result<Self, SourceGlobsError> {
        let no_glob = |pattern: &str, error: &globset::Error| SourceGlobsError::NoGlob {
            pattern: pattern.to_owned(),
            reason: error.kind().to_string(),
        };
        let mut set = GlobSetBuilder::new();
        for pattern in &patterns {
            check_kind(pattern)?;
            set.add(Glob::new(pattern).map_err(|error| no_glob(pattern, &error))?);
        }
        let set = set
            .build()
            .map_err(|error| no_glob(&patterns.join(" "), &error))?;
        Ok(Self { patterns, set })
    }

    /// Whether one of the globs fits.
    pub fn matches(&self, source: &SourceName) -> bool {
        // Not `Display`, which escapes: the glob has to fit the name itself.
        self.set
            .is_match(format!("{}:{}", source.kind.name(), source.name))
    }

    /// The globs as they were written.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

impl PartialEq for SourceGlobs {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for SourceGlobs {}

/// A glob that starts with plain text must start with a kind, or it would silently fit nobody.
fn check_kind(pattern: &str) -> Result<(), SourceGlobsError> {
    let kind = pattern.split_once(':').map_or(pattern, |(kind, _)| kind);
    if kind.contains(['*', '?', '[', '{']) {
        return Ok(());
    }
    if kind != pattern && KINDS.iter().any(|known| known.name() == kind) {
        return Ok(());
    }
    Err(SourceGlobsError::NoKind {
        pattern: pattern.to_owned(),
        nearest: KINDS
            .iter()
            .map(|known| known.name())
            .find(|known| strsim::damerau_levenshtein(known, kind) <= 2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(patterns: &[&str]) -> Result<SourceGlobs, SourceGlobsError> {
        SourceGlobs::new(patterns.iter().map(|&p| p.to_owned()).collect())
    }

    #[test]
    fn globs_fit_kind_and_name() {
        let set = globs(&["user:web*", "container:a/b", "*:mail"]).unwrap();
        for (source, expected) in [
            (SourceName::user("web1"), true),
            (SourceName::user("web/../x:y\n"), true),
            (SourceName::user("alice"), false),
            (SourceName::container("web1"), false),
            (SourceName::container("a/b"), true),
            (SourceName::iface("mail"), true),
            (SourceName::container("user:web1"), false),
        ] {
            assert_eq!(set.matches(&source), expected, "{source}");
        }
        assert!(globs(&["*"]).unwrap().matches(&SourceName::iface("")));
        assert!(!globs(&[]).unwrap().matches(&SourceName::user("root")));
    }

    #[test]
    fn globs_that_fit_nobody_are_refused() {
        let error = globs(&["usr:alice"]).unwrap_err().to_string();
        assert!(error.contains("did you mean `user:`"), "{error}");
        for bad in ["alice", "", "user", "cgroup:/x", "user:[", "user:{a"] {
            assert!(globs(&[bad]).is_err(), "{bad}");
        }
    }
}
