//! Fills what a text leaves out from the reference file.

use std::path::PathBuf;

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{REFERENCE, error::Problem, raw::RawConfig};

/// Sections of which those of the reference file hold as well, unless the text has one of the same
/// name: whoever exempts one source more is not to expose the host's mail server by it, and whoever
/// writes a ladder of their own is not to take the shipped rules theirs.
const ADDED_TO: [&str; 2] = ["exempt", "ladder"];

/// Reads a text and takes every key that it lacks, at the top or within a section, from the
/// reference file. Lists and inline tables are taken whole, except those of [`ADDED_TO`].
pub(super) fn with_defaults(text: &str) -> Result<RawConfig, Problem> {
    // Blanks as long as the text keep the places of the two files apart: what stands beyond the
    // text's end is a default.
    let reference = " ".repeat(text.len()) + REFERENCE;
    let parse = |text| DeTable::parse(text);
    let syntax = |error| Problem::from_toml(text, None, &error);
    let mut document = parse(text).map_err(syntax)?;
    let defaults = parse(&reference).map_err(syntax)?;
    fill(document.get_mut(), defaults.into_inner());
    RawConfig::deserialize(toml::Deserializer::from(document)).map_err(|error| {
        let document = parse(text).map(Spanned::into_inner).ok();
        Problem::from_toml(text, document.as_ref(), &error)
    })
}

/// `paths.control_socket` of a text that is TOML, whatever else it says.
pub(super) fn socket(text: &str) -> Option<PathBuf> {
    let mut document = DeTable::parse(text).ok()?;
    let defaults = DeTable::parse(REFERENCE).ok()?;
    fill(document.get_mut(), defaults.into_inner());
    match document.get_ref().get("paths")?.get_ref() {
        DeValue::Table(paths) => paths
            .get("control_socket")?
            .get_ref()
            .as_str()
            .map(PathBuf::from),
        _ => None,
    }
}

fn fill<'a>(document: &mut DeTable<'a>, defaults: DeTable<'a>) {
    for (key, default) in defaults {
        match (
            document.get_mut(key.get_ref().as_ref()),
            default.into_inner(),
        ) {
            (Some(section), DeValue::Table(defaults)) => {
                if let DeValue::Table(section) = section.get_mut() {
                    for (key, default) in defaults {
                        section.entry(key).or_insert(default);
                    }
                }
            }
            (Some(own), DeValue::Array(defaults)) if ADDED_TO.contains(&&**key.get_ref()) => {
                if let DeValue::Array(own) = own.get_mut() {
                    for default in defaults {
                        if !own.iter().any(|own| name(own) == name(&default)) {
                            own.push(default);
                        }
                    }
                }
            }
            (Some(_), _) => {}
            (None, default) => {
                let span = key.span();
                document.insert(key, Spanned::new(span, default));
            }
        }
    }
}

/// The name of a section.
fn name<'t>(section: &'t Spanned<DeValue<'_>>) -> Option<&'t str> {
    match section.get_ref() {
        DeValue::Table(table) => table.get("name")?.get_ref().as_str(),
        _ => None,
    }
}
