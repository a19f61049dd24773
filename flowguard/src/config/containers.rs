//! Which cgroups are containers, told by their paths.
//!
//! A tenant names cgroups below its own as it likes. So patterns describe whole paths from the
//! cgroup root, and what lies below a container is never one itself, whatever it is called.

use regex::Regex;

use crate::model::escape;

/// Longest pattern, in bytes. Longer ones only make the compiled pattern grow.
const MAX_PATTERN: usize = 256;

/// Characters of a long hexadecimal id that are shown, as Docker and Podman do.
const SHORT_ID: usize = 12;

/// Patterns of all container engines, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct ContainerPatterns {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    engine: String,
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
    /// Name of the engine whose pattern fits.
    pub engine: &'a str,
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
        unescape_unit(&self.id)
    }
}

impl ContainerPatterns {
    /// Adds a pattern of an engine.
    ///
    /// # Errors
    ///
    /// The pattern is malformed.
    pub fn add(&mut self, engine: &str, pattern: &str) -> Result<(), ContainerPatternError> {
        let error = |reason: String| ContainerPatternError {
            pattern: pattern.to_owned(),
            reason,
        };
        let regex = Regex::new(&translate(pattern).map_err(|reason| error(reason.to_owned()))?)
            .map_err(|source| error(source.to_string()))?;
        self.patterns.push(Pattern {
            engine: engine.to_owned(),
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
                Some((end, &pattern.engine, id.as_str()))
            })
            .min_by_key(|(end, ..)| *end)?;
        (end == cgroup_path.len()).then(|| ContainerMatch {
            engine,
            id: id.to_owned(),
        })
    }

    /// Engines and patterns as they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.patterns
            .iter()
            .map(|pattern| (pattern.engine.as_str(), pattern.text.as_str()))
    }
}

impl PartialEq for ContainerPatterns {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
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
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn patterns(patterns: &[&str]) -> ContainerPatterns {
        let mut all = ContainerPatterns::default();
        for pattern in patterns {
            all.add("engine", pattern).unwrap();
        }
        all
    }

    fn shipped() -> &'static ContainerPatterns {
        static SHIPPED: LazyLock<ContainerPatterns> =
            LazyLock::new(|| Config::embedded().unwrap().containers);
        &SHIPPED
    }

    #[test]
    fn shipped_patterns_know_the_engines() {
        let shipped = shipped();
        let short = &ID[..12];
        for (path, engine, name) in [
            ("/docker/ID", "docker", short),
            ("/system.slice/docker-ID.scope", "docker", short),
            ("/machine.slice/libpod-ID.scope", "podman", short),
            (
                "/machine.slice/machine-libpod_pod_ab12.slice/libpod-ID.scope",
                "podman",
                short,
            ),
            (
                "/system.slice/web.service/libpod-payload-ID",
                "podman",
                short,
            ),
            ("/libpod_parent/libpod-ID", "podman", short),
            ("/system.slice/nerdctl-ID.scope", "nerdctl", short),
            ("/kubepods/besteffort/pod8ac1/ID", "kubernetes", short),
            ("/kubepods/pod8ac1/ID", "kubernetes", short),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/cri-containerd-ID.scope",
                "kubernetes",
                short,
            ),
            (
                "/kubepods.slice/kubepods-pod1.slice/crio-ID.scope",
                "kubernetes",
                short,
            ),
            ("/lxc.payload.web", "lxc", "web"),
            ("/lxc/101", "lxc", "101"),
            ("/qemu.slice/102.scope", "proxmox-vm", "102"),
            (
                r"/machine.slice/machine-qemu\x2d7\x2dmy\x2d1\x2dvm.scope",
                "libvirt",
                "my-1-vm",
            ),
            ("/machine/qemu-7-my-vm.libvirt-qemu", "libvirt", "my-vm"),
            (
                "/machine.slice/systemd-nspawn@web-1.service",
                "systemd-nspawn",
                "web-1",
            ),
            (
                r"/machine.slice/machine-web\x2d1.scope",
                "systemd-nspawn",
                "web-1",
            ),
        ] {
            let path = path.replace("ID", ID);
            let found = shipped.matches(&path);
            let found = found.as_ref().map(|m| (m.engine, m.display_name()));
            assert_eq!(found, Some((engine, name.to_owned())), "{path}");
        }
    }

    #[test]
    fn what_is_no_container_does_not_match() {
        let shipped = shipped();
        for path in [
            "",
            "/",
            "docker/ID",
            "/docker",
            "/docker/",
            "/docker/ID/",
            "/docker/ID/init.scope",
            "/docker//ID",
            "/docker/web",
            "/docker/ID\n",
            "/docker/IDx",
            "/lxc/..",
            "/lxc.monitor.web",
            "/system.slice/docker.service",
            "/system.slice/crio-conmon-ID.scope",
            // What a user or a container could make for itself.
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope",
            "/user.slice/user-1000.slice/user@1000.service/docker/ID",
            "/docker/ID/docker/ID",
            "/lxc.payload.web/docker/ID",
            "/kubepods/pod1/ID/pod2/ID",
        ] {
            let path = path.replace("ID", ID);
            assert_eq!(shipped.matches(&path), None, "{path:?}");
        }
    }

    #[test]
    fn the_outermost_container_counts_whatever_the_order_of_patterns() {
        let patterns = patterns(&["/**/c-{name}", "/a/{name}"]);
        assert_eq!(patterns.matches("/a/c-x").unwrap().id, "x");
        assert_eq!(patterns.matches("/a/b/c-x"), None);
        assert_eq!(patterns.matches("/b/c-x").unwrap().id, "x");
        assert_eq!(patterns.matches("/b/c-x/c-y"), None);
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for bad in [
            "",
            "/",
            "docker/{id}",
            "/docker",
            "/{id}/x",
            "/{id}{name}",
            "/{id}/{name}",
            "//{id}",
            "/../{id}",
            "/a/{ID}/{id}",
            "/a}/{id}",
            "/a**/{id}",
            "/**/a/**/{id}",
            "/**",
        ] {
            let error = ContainerPatterns::default().add("e", bad).unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{bad}` is no")));
        }
        let long = format!("/{}{{id}}", "a".repeat(MAX_PATTERN));
        assert!(ContainerPatterns::default().add("e", &long).is_err());
    }

    #[test]
    fn display_names_are_readable() {
        for (id, expected) in [
            (ID, "0123456789ab"),
            ("web", "web"),
            (r"a\x2db\x", r"a-b\x"),
            (r"\x0a\xff\xg\x2é", r"\x0a\xff\xg\x2é"),
        ] {
            let id = id.to_owned();
            let found = ContainerMatch {
                engine: "engine",
                id,
            };
            assert_eq!(found.display_name(), expected);
        }
    }

    proptest! {
        #[test]
        fn nothing_below_a_container_is_one(
            root in prop::sample::select(vec![
                format!("/docker/{ID}"),
                format!("/kubepods.slice/a.slice/crio-{ID}.scope"),
                "/lxc.payload.web".to_owned(),
            ]),
            below in prop::collection::vec(
                prop_oneof![
                    "[^/]{1,20}",
                    Just("docker".to_owned()),
                    Just("kubepods.slice".to_owned()),
                    Just(ID.to_owned()),
                    Just(format!("crio-{ID}.scope")),
                ],
                1..5,
            ),
        ) {
            let shipped = shipped();
            prop_assert!(shipped.matches(&root).is_some());
            prop_assert_eq!(shipped.matches(&format!("{root}/{}", below.join("/"))), None);
        }

        #[test]
        fn any_name_is_taken_whole_and_any_path_is_survived(name in "[^/]{1,40}", path in ".{0,80}") {
            let patterns = patterns(&["/t/{name}.scope"]);
            let found = patterns.matches(&format!("/t/{name}.scope")).map(|found| found.id);
            prop_assert_eq!(found, Some(name));
            if let Some(found) = shipped().matches(&path) {
                found.display_name();
            }
        }

        #[test]
        fn any_pattern_compiles_or_is_refused(pattern in r"/([*{}a-z\\.+()\[\]?^$|-]|\{id\}|\{name\}|/){0,40}") {
            // Whatever stands in a pattern besides wildcards means itself.
            let plain = pattern.replace(['*', '{', '}'], "");
            let mut patterns = ContainerPatterns::default();
            if patterns.add("engine", &format!("{plain}/{{name}}")).is_ok() {
                let path = format!("{plain}/x");
                prop_assert_eq!(patterns.matches(&path).map(|found| found.id), Some("x".to_owned()));
            }
            // What is translated is always a regular expression.
            prop_assert!(ContainerPatterns::default().add("engine", &pattern).is_ok()
                == translate(&pattern).is_ok());
        }
    }
}
