//! Which cgroups are containers, told by their paths.
//!
//! A tenant names cgroups below its own as it likes. So patterns describe whole paths from the
//! cgroup root, and what lies below a container is never one itself, whatever it is called.

use regex::Regex;

use crate::{identity::names::Teller, model::escape};

/// Longest pattern, in bytes. Longer ones only make the compiled pattern grow.
const MAX_PATTERN: usize = 256;

/// Characters of a long hexadecimal id that are shown, as Docker and Podman do.
const SHORT_ID: usize = 12;

/// Patterns of all container engines, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct ContainerPatterns {
    engines: Vec<Engine>,
    patterns: Vec<Pattern>,
}

/// A section `[[container]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Its name.
    pub name: String,
    /// Who tells the names of its containers, in the order in which they are asked.
    pub tellers: Vec<Teller>,
    /// What its containers are called, with [`NAME`] for what stands in the path; none: just that.
    pub called: Option<String>,
}

/// The placeholder in [`Engine::called`].
pub(super) const NAME: &str = "{name}";

#[derive(Clone, Debug)]
struct Pattern {
    /// Index of its engine.
    engine: usize,
    text: String,
    regex: Regex,
}

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no container pattern: {reason}", escape(pattern))]
pub struct ContainerPatternError {
    pattern: String,
    reason: String,
}

/// A cgroup that is a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerMatch<'a> {
    /// The engine whose pattern fits.
    pub engine: &'a Engine,
    /// What stands in place of `{id}` or `{name}`, unescaped.
    pub id: String,
}

impl ContainerMatch<'_> {
    /// The name to show and to count under until the engine tells a better one: the first 12
    /// digits of a 64-digit id, and what systemd escaped in unit names (`\x2d` for `-`) undone.
    pub fn display_name(&self) -> String {
        if self.id.len() == 64 && self.id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return self.id[..SHORT_ID].to_owned();
        }
        let name = unescape_unit(&self.id);
        match &self.engine.called {
            Some(called) => called.replace(NAME, &name),
            None => name,
        }
    }
}

impl ContainerPatterns {
    /// Adds an engine, to which the patterns belong that are added next.
    pub fn add_engine(&mut self, engine: Engine) {
        self.engines.push(engine);
    }

    /// Adds a pattern of the last engine that was added.
    ///
    /// # Errors
    ///
    /// The pattern is malformed.
    pub fn add(&mut self, pattern: &str) -> Result<(), ContainerPatternError> {
        let error = |reason: String| ContainerPatternError {
            pattern: pattern.to_owned(),
            reason,
        };
        let regex = Regex::new(&translate(pattern).map_err(|reason| error(reason.to_owned()))?)
            .map_err(|source| error(source.to_string()))?;
        self.patterns.push(Pattern {
            engine: self.engines.len().saturating_sub(1),
            text: pattern.to_owned(),
            regex,
        });
        Ok(())
    }

    /// The container that the cgroup at this path, counted from the cgroup root, is; none for a
    /// cgroup that is no container or lies below one.
    pub fn matches(&self, cgroup_path: &str) -> Option<ContainerMatch<'_>> {
        let mut components = cgroup_path.split('/').skip(1);
        if components.any(|component| matches!(component, "" | "." | "..")) {
            return None;
        }
        // Every regex ends with the shortest prefix of the path that fits; of all of them, the
        // shortest is the outermost container.
        let (end, engine, id) = self
            .patterns
            .iter()
            .filter_map(|pattern| {
                let id = pattern.regex.captures(cgroup_path)?.get(1)?;
                let tail = &cgroup_path[id.end()..];
                let end = id.end() + tail.find('/').unwrap_or(tail.len());
                Some((end, self.engines.get(pattern.engine)?, id.as_str()))
            })
            .min_by_key(|(end, ..)| *end)?;
        (end == cgroup_path.len()).then(|| ContainerMatch {
            engine,
            id: id.to_owned(),
        })
    }

    /// Names of engines, and their patterns, as they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.patterns.iter().filter_map(|pattern| {
            let engine = self.engines.get(pattern.engine)?;
            Some((engine.name.as_str(), pattern.text.as_str()))
        })
    }
}

impl PartialEq for ContainerPatterns {
    fn eq(&self, other: &Self) -> bool {
        self.engines == other.engines && self.iter().eq(other.iter())
    }
}

impl Eq for ContainerPatterns {}

/// The pattern as a regular expression over the beginning of a path, whose only group is the id.
fn translate(pattern: &str) -> Result<String, &'static str> {
    if pattern.len() > MAX_PATTERN {
        return Err("it is longer than 256 bytes");
    }
    let path = pattern
        .strip_prefix('/')
        .ok_or("it does not begin with `/`")?;
    let last = path.rsplit('/').next().unwrap_or_default();
    let placeholders = |text: &str| text.matches("{id}").count() + text.matches("{name}").count();
    if placeholders(last) != 1 || placeholders(pattern) != 1 {
        return Err("it needs `{id}` or `{name}`, once, and in the last component");
    }
    if path.split('/').filter(|part| *part == "**").count() > 1 {
        return Err("it has more than one `**`");
    }
    let mut regex = String::from(r"\A");
    for component in path.split('/') {
        match component {
            "" | "." | ".." => return Err("it has an empty, `.` or `..` component"),
            // As few as possible, so that the outermost cgroup that fits is found.
            "**" => regex.push_str("(?:/[^/]+)*?"),
            _ => {
                regex.push('/');
                regex.push_str(&translate_component(component)?);
            }
        }
    }
    regex.push_str(r"(?:/|\z)");
    Ok(regex)
}

fn translate_component(component: &str) -> Result<String, &'static str> {
    if component.contains("**") {
        return Err("`**` does not stand alone between two `/`");
    }
    let translated = regex::escape(component)
        .replace(r"\{id\}", "([0-9a-f]{12,64})")
        .replace(r"\{name\}", "([^/]+)")
        .replace(r"\*", "[^/]*?");
    if translated.contains(r"\{") || translated.contains(r"\}") {
        return Err("it has a brace that belongs to neither `{id}` nor `{name}`");
    }
    Ok(translated)
}

/// Undoes systemd's `\xNN` for printable ASCII characters; leaves everything else as it is.
fn unescape_unit(text: &str) -> String {
    let mut parts = text.split(r"\x");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(|byte| byte.is_ascii_graphic() || *byte == b' ');
        match byte {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[2..]);
            }
            None => {
                plain.push_str(r"\x");
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests;
