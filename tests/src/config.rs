//! The configuration file of a daemon under test.

use std::fmt;

use crate::lab::Lab;

/// A rule that convicts whoever makes 30 connections to 20 destinations.
pub const FANOUT_RULE: &str = r#"
[[rule]]
name = "direct-fanout"
sources = ["*"]
class = "direct"
window = "5m"
min_attempts = 30
min_destinations = 20
action = "block"
for = "1h"
"#;

/// The group that may read from the control socket.
pub const READERS: &str = "games";

/// No rules, instead of the built-in ones.
const NO_RULES: &str = "";

/// A configuration in the making; its `Display` is the file.
#[derive(Clone, Debug)]
pub struct Config {
    unique: String,
    paths: String,
    mode: &'static str,
    guard: Vec<String>,
    direct_ports: String,
    trusted: String,
    exempt: Vec<String>,
    containers: Vec<String>,
    /// Who tells the names of containers, as TOML.
    names: Vec<String>,
    /// What containers are called.
    called: &'static str,
    edges: Vec<String>,
    /// None: the built-in ones.
    rules: Option<&'static str>,
    tick: &'static str,
    extra: String,
}

impl Config {
    /// Observe mode, no rules, only root exempt, cgroups `ct-NAME`
    /// of the lab for containers and `fge*` interfaces for edges.
    pub fn observe(lab: &Lab) -> Self {
        let path = |name| lab.dir().join(name).display().to_string();
        let pins = lab.pins().display().to_string();
        let paths = [
            ("control_socket", path("control.sock")),
            ("state", path("state.db")),
            ("pins", pins),
            ("control_group", READERS.to_owned()),
            ("cgroup_root", lab.cgroups().root().display().to_string()),
        ];
        Self {
            unique: lab.cgroups().relative(),
            paths: paths
                .map(|(key, path)| format!("{key} = {path:?}\n"))
                .concat(),
            mode: "observe",
            guard: Vec::new(),
            direct_ports: "25".to_owned(),
            trusted: String::new(),
            exempt: vec!["user:root".to_owned()],
            containers: vec!["ct-{name}".to_owned()],
            names: Vec::new(),
            called: "{name}",
            edges: vec!["fge*".to_owned()],
            rules: Some(NO_RULES),
            tick: "100ms",
            extra: String::new(),
        }
    }

    /// The same in enforce mode.
    pub fn enforce(lab: &Lab) -> Self {
        Self {
            mode: "enforce",
            ..Self::observe(lab)
        }
    }

    /// With these rules.
    #[must_use]
    pub fn rules(mut self, rules: &'static str) -> Self {
        self.rules = Some(rules);
        self
    }

    /// With the rules and the pace of weighing them that flowguard is shipped with.
    #[must_use]
    pub fn shipped_policy(mut self) -> Self {
        (self.rules, self.tick) = (None, "1s");
        self
    }

    /// With these direct ports, such as `25, 26`.
    #[must_use]
    pub fn direct_ports(mut self, ports: &str) -> Self {
        self.direct_ports = ports.to_owned();
        self
    }

    /// With a trusted destination.
    #[must_use]
    pub fn trusted(mut self, prefix: &str) -> Self {
        self.trusted = format!("{prefix:?}");
        self
    }

    /// With a line more in `[guard]`.
    #[must_use]
    pub fn guard(mut self, line: &str) -> Self {
        self.guard.push(line.to_owned());
        self
    }

    /// With one exempt source more.
    #[must_use]
    pub fn exempt(mut self, source: &str) -> Self {
        self.exempt.push(source.to_owned());
        self
    }

    /// With this pattern, relative to the lab's cgroup, for containers.
    #[must_use]
    pub fn containers(mut self, pattern: &str) -> Self {
        self.containers = vec![pattern.to_owned()];
        self
    }

    /// With one more who tells the names of containers, such as `docker-socket = "/run/docker.sock"`.
    #[must_use]
    pub fn names(mut self, teller: &str) -> Self {
        self.names.push(format!("{{ {teller} }}"));
        self
    }

    /// With containers called like this, such as `{name}.service`.
    #[must_use]
    pub fn called(mut self, called: &'static str) -> Self {
        self.called = called;
        self
    }

    /// With this pattern for edges.
    #[must_use]
    pub fn edges(mut self, pattern: &str) -> Self {
        self.edges = vec![pattern.to_owned()];
        self
    }

    /// With room for so many sources and edges: another layout of the maps.
    #[must_use]
    pub fn sized(self, sources: u32, edges: u32) -> Self {
        self.extra(&format!(
            "\n[kernel]\nmax_sources = {sources}\nmax_edges = {edges}\n"
        ))
    }

    /// With more tables at the end.
    #[must_use]
    pub fn extra(mut self, toml: &str) -> Self {
        self.extra.push_str(toml);
        self
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unique, .. } = self;
        let containers = self.containers.iter();
        let containers: Vec<_> = containers.map(|c| format!("{unique}/{c}")).collect();
        writeln!(f, "mode = \"{}\"", self.mode)?;
        if self.rules == Some(NO_RULES) {
            writeln!(f, "rule = []")?;
        }
        writeln!(f, "\n[paths]\n{}", self.paths)?;
        writeln!(f, "[guard]\ndirect_ports = [{}]", self.direct_ports)?;
        writeln!(f, "submission_ports = [465, 587, 2525]")?;
        writeln!(f, "trusted = [{}]", self.trusted)?;
        writeln!(
            f,
            "trust_local_addresses = false\n{}",
            self.guard.join("\n")
        )?;
        writeln!(f, "\n[policy]\ntick = {:?}", self.tick)?;
        writeln!(
            f,
            "\n[[exempt]]\nname = \"mail-servers\"\nsources = {:?}",
            self.exempt
        )?;
        writeln!(
            f,
            "\n[[container]]\nname = \"test\"\npaths = {containers:?}\nnames = [{}]\ncalled = {:?}",
            self.names.join(", "),
            self.called
        )?;
        writeln!(f, "\n[edges]\ninclude = {:?}", self.edges)?;
        write!(f, "{}{}", self.rules.unwrap_or_default(), self.extra)
    }
}
