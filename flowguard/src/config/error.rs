//! What is wrong with a configuration, said so that the line can be found and mended.

use std::{fmt, ops::Range, path::PathBuf};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::model::escape;

/// A suggestion must be at least this similar (Jaro-Winkler) to what was written.
const SIMILAR: f64 = 0.8;

/// Why a configuration is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(
        "cannot read the configuration file {}",
        escape(&path.to_string_lossy())
    )]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The text makes no sense; one line for each problem.
    #[error("{}", join(.origin.as_ref(), .problems))]
    Invalid {
        /// The file it came from.
        origin: Option<PathBuf>,
        /// Everything that is wrong, in the order of the file; never empty.
        problems: Vec<Problem>,
    },
}

fn join(origin: Option<&PathBuf>, problems: &[Problem]) -> String {
    let origin = origin.map_or_else(
        || "configuration".to_owned(),
        |path| escape(&path.to_string_lossy()),
    );
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| format!("{origin}:{problem}"))
        .collect();
    lines.join("\n")
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key, such as `guard.direct_ports`; empty where there is none.
    pub key: String,
    /// What is wrong and what would be right; safe to print.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", escape(&self.key))?;
        }
        f.write_str(&self.message)
    }
}

impl Problem {
    /// A problem with what stands at `span` of `text`.
    pub(super) fn at(
        text: &str,
        span: &Range<usize>,
        key: impl Into<String>,
        message: &str,
    ) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            key: key.into(),
            message: escape(message),
        }
    }

    /// A problem that the TOML library found.
    pub(super) fn from_toml(
        text: &str,
        document: Option<&DeTable<'_>>,
        error: &toml::de::Error,
    ) -> Self {
        let span = error.span().unwrap_or(0..0);
        let key = document
            .and_then(|table| key_at(table, span.start))
            .unwrap_or_default();
        Self::at(text, &span, key, &explain(error.message()))
    }
}

/// The library's message in the words of this program, with the nearest valid name for an
/// unknown one. It quotes what it found first, and then what it expected.
fn explain(message: &str) -> String {
    let text = message
        .replacen(" field ", " key ", 1)
        .replacen(" variant ", " value ", 1)
        .replace("expected i64", "expected a whole number");
    if !text.starts_with("unknown ") {
        return text;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let found = quoted.next().unwrap_or_default();
    let nearest = quoted
        .map(|name| (strsim::jaro_winkler(found, name), name))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((_, name)) => format!("{text}; did you mean `{name}`?"),
        None => text,
    }
}

/// The innermost key whose name or value stands at `offset`.
fn key_at(table: &DeTable<'_>, offset: usize) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name = key.get_ref();
        if let Some(inner) = key_in(value, offset) {
            return Some(format!("{name}.{inner}"));
        }
        let here = key.span().contains(&offset) || value.span().contains(&offset);
        here.then(|| name.to_string())
    })
}

fn key_in(value: &Spanned<DeValue<'_>>, offset: usize) -> Option<String> {
    match value.get_ref() {
        DeValue::Table(table) => key_at(table, offset),
        DeValue::Array(elements) => elements.iter().find_map(|element| key_in(element, offset)),
        _ => None,
    }
}
