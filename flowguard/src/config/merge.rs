//! Fills what a text leaves out from the reference file.

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{REFERENCE, error::Problem, raw::RawConfig};

/// Reads a text and takes every key that it lacks, at the top or within a section, from the
/// reference file. Lists and inline tables are taken whole.
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
            (Some(_), _) => {}
            (None, default) => {
                let span = key.span();
                document.insert(key, Spanned::new(span, default));
            }
        }
    }
}
