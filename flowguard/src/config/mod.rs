//! The configuration file, checked.
//!
//! The reference file `packaging/flowguard.toml` is the one place where defaults stand: what a
//! text leaves out is taken from there before anything is interpreted. What is written
//! ([`raw`]) becomes what is meant ([`Config`]) only if all of it makes sense.

mod check;
mod containers;
mod convert;
mod edges;
mod engines;
mod error;
mod gateway;
mod history;
mod judgement;
mod mapping;
mod merge;
mod raw;
mod sending;

#[cfg(test)]
mod tests;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use flowguard_common::verdict::Rate;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::{
    containers::{ContainerMatch, ContainerPatternError, ContainerPatterns, Engine},
    edges::EdgeNames,
    error::{ConfigError, Problem},
    gateway::{Gateway, GatewayMode},
    mapping::Mapping,
};
use crate::{
    identity::sending::Translations,
    model::{ClassName, Mode, SourceName},
    policy::SourceGlobs,
    store::Retention,
};

/// The reference file: every setting with its default and what it means.
pub const REFERENCE: &str = include_str!("../../../packaging/flowguard.toml");

/// A configuration that makes sense.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it came from; none: no file.
    pub origin: Option<PathBuf>,
    /// The socket of the command line, which stands in [`Paths::control_socket`] then.
    pub socket: Option<PathBuf>,
    /// Whether verdicts are carried out.
    pub mode: Mode,
    /// Where things are.
    pub paths: Paths,
    /// What is guarded.
    pub guard: Guard,
    /// Sizes and ways of the kernel side.
    pub kernel: Kernel,
    /// Rates that no source may exceed, by class.
    pub ceilings: Ceilings,
    /// How the rules are weighed.
    pub policy: Policy,
    /// How long what was seen is kept.
    pub history: Retention,
    /// Interfaces of containers and VMs.
    pub edges: EdgeNames,
    /// Interfaces through which tenants' traffic enters.
    pub gateway: Gateway,
    /// The host's own ways to the world.
    pub uplinks: Uplinks,
    /// Who is never judged.
    pub exempt: Vec<Exempt>,
    /// Cgroups that are containers.
    pub containers: ContainerPatterns,
    /// How containers get their names.
    pub names: Names,
    /// Whose sources are.
    pub mapping: Mapping,
    /// Which addresses mail servers see.
    pub sending: Translations,
    /// When somebody is stopped, and what is weighed how.
    pub judgement: crate::policy::Policy,
}

/// `[paths]`; all of them absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Unix socket of the daemon.
    pub control_socket: PathBuf,
    /// Name of the group that may read from the socket.
    pub control_group: String,
    /// Database of history and verdicts.
    pub state: PathBuf,
    /// Directory on a BPF file system.
    pub pins: PathBuf,
    /// Root of the guarded cgroup2 hierarchy; none: to be found.
    pub cgroup_root: Option<PathBuf>,
}

/// `[uplinks]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplinks {
    /// The interfaces over which the kernel routes far destinations are uplinks.
    pub auto: bool,
    /// Others that are, by their names, and those that never are.
    pub names: EdgeNames,
}

impl Uplinks {
    /// Whether an interface is an uplink; `leads_out` says that the kernel routes over it.
    pub fn matches(&self, name: &str, leads_out: bool) -> bool {
        !self.names.excludes(name) && (self.auto && leads_out || self.names.matches(name))
    }
}

/// `[guard]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Ports of class direct; at least one.
    pub direct_ports: Vec<u16>,
    /// Ports of class submission; none of the direct ones.
    pub submission_ports: Vec<u16>,
    /// What a denied `connect()` returns.
    pub deny: DenyError,
    /// Destinations of class relay, without host bits.
    pub trusted: Vec<IpNet>,
    /// The host's own addresses are of class relay too.
    pub trust_local_addresses: bool,
    /// Hosts that take redirected mail, at most one of each family; of class relay as well.
    pub smarthosts: Vec<SocketAddr>,
}

/// What a denied `connect()` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DenyError {
    /// `ECONNREFUSED`.
    Refused,
    /// `EPERM`.
    NotPermitted,
}

impl DenyError {
    /// The error number (include/uapi/asm-generic/errno.h and errno-base.h).
    pub const fn errno(self) -> u32 {
        match self {
            Self::Refused => 111,
            Self::NotPermitted => 1,
        }
    }
}

/// `[kernel]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Sources there is room for.
    pub max_sources: u32,
    /// Edge devices there is room for.
    pub max_edges: u32,
    /// Identities of each sort (uids, cgroups, namespaces) there is room for.
    pub max_identities: u32,
    /// Identities that are counted one by one before they are registered.
    pub max_unregistered: u32,
    /// Size of the ring in which events wait for the daemon; a power of two.
    pub ring_bytes: u32,
    /// How the edge program is attached.
    pub edge_attach: EdgeAttach,
    /// Events that one source may raise.
    pub events_per_source: Rate,
    /// How long packet hooks wait for an answer before an attempt has timed out.
    pub unanswered_after: Duration,
}

/// How the edge program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeAttach {
    /// TCX where the kernel has it, else clsact.
    Auto,
    /// TCX, since Linux 6.6.
    Tcx,
    /// A classifier at the clsact queueing discipline.
    Clsact,
}

/// `[ceilings]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// Of class direct; none: no ceiling.
    pub direct: Option<Rate>,
    /// Of class submission; none: no ceiling.
    pub submission: Option<Rate>,
    /// Of class relay; none: no ceiling.
    pub relay: Option<Rate>,
}

impl Ceilings {
    /// The ceiling of a class; none: no ceiling.
    pub const fn of(&self, class: ClassName) -> Option<Rate> {
        match class {
            ClassName::Direct => self.direct,
            ClassName::Submission => self.submission,
            ClassName::Relay => self.relay,
        }
    }
}

/// `[policy]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Time between two looks at the counters.
    pub tick: Duration,
}

/// `[names]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// How long each of those that may know a container's name has to tell it.
    pub timeout: Duration,
}

/// `[[exempt]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exempt {
    /// Name of the rule, unique among the exemptions.
    pub name: String,
    /// Who is never judged.
    pub sources: SourceGlobs,
}

/// Largest file that is taken for a configuration, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The text of a regular file of sensible size: the daemon reads it while it guards, and must not
/// wait for whoever writes into a pipe.
fn read(path: &Path) -> io::Result<String> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        let reason = "it is no regular file of at most 1 MiB";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    fs::read_to_string(path)
}

/// The socket that a file names, or leaves at its default, whatever else is wrong with it; none if
/// that cannot be told. For commands that want to reach a daemon which runs with an earlier version
/// of the file.
pub fn socket_of(path: &Path) -> Option<PathBuf> {
    merge::socket(&read(path).ok()?).filter(|socket| socket.is_absolute())
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read (a missing one is an error too), or makes no sense.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, Some(path))
    }

    /// Interprets a text that came from the file `origin`.
    ///
    /// # Errors
    ///
    /// The text makes no sense. Problems of TOML itself and of keys and types are told one at a
    /// time, problems with values all together.
    pub fn parse(text: &str, origin: Option<&Path>) -> Result<Self, ConfigError> {
        let invalid = |problems| ConfigError::Invalid {
            origin: origin.map(Path::to_owned),
            problems,
        };
        let raw = merge::with_defaults(text).map_err(|problem| invalid(vec![problem]))?;
        let config = convert::config(raw, text).map_err(invalid)?;
        Ok(Self {
            origin: origin.map(Path::to_owned),
            ..config
        })
    }

    /// The configuration of a host that has no file: the defaults.
    ///
    /// # Errors
    ///
    /// None, as long as the tests of this module pass: they interpret the same text.
    pub fn embedded() -> Result<Self, ConfigError> {
        Self::parse(REFERENCE, None)
    }

    /// With the socket of the command line, which goes before that of the file.
    #[must_use]
    pub fn with_socket(mut self, socket: Option<&Path>) -> Self {
        self.socket = socket.map(Path::to_owned);
        if let Some(socket) = socket {
            socket.clone_into(&mut self.paths.control_socket);
        }
        self
    }

    /// Reads where this came from once more.
    ///
    /// # Errors
    ///
    /// As for [`Self::load`].
    pub fn load_again(&self) -> Result<Self, ConfigError> {
        let new = match &self.origin {
            Some(path) => Self::load(path),
            None => Self::embedded(),
        }?;
        Ok(new.with_socket(self.socket.as_deref()))
    }

    /// The name of the rule that exempts this source from judgement.
    pub fn exempt(&self, source: &SourceName) -> Option<&str> {
        self.exempt
            .iter()
            .find(|rule| rule.sources.matches(source))
            .map(|rule| rule.name.as_str())
    }

    /// The settings in which `new` differs and that a running daemon cannot change.
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        let (old_paths, new_paths) = (&self.paths, &new.paths);
        [
            (
                "paths.control_socket",
                old_paths.control_socket != new_paths.control_socket,
            ),
            (
                "paths.control_group",
                old_paths.control_group != new_paths.control_group,
            ),
            ("paths.state", old_paths.state != new_paths.state),
            ("paths.pins", old_paths.pins != new_paths.pins),
            (
                "paths.cgroup_root",
                old_paths.cgroup_root != new_paths.cgroup_root,
            ),
            (
                "kernel.max_sources",
                self.kernel.max_sources != new.kernel.max_sources,
            ),
            (
                "kernel.max_edges",
                self.kernel.max_edges != new.kernel.max_edges,
            ),
            (
                "kernel.max_identities",
                self.kernel.max_identities != new.kernel.max_identities,
            ),
            (
                "kernel.max_unregistered",
                self.kernel.max_unregistered != new.kernel.max_unregistered,
            ),
            (
                "kernel.ring_bytes",
                self.kernel.ring_bytes != new.kernel.ring_bytes,
            ),
            (
                "kernel.edge_attach",
                self.kernel.edge_attach != new.kernel.edge_attach,
            ),
        ]
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(key, _)| key.to_owned())
        .collect()
    }
}
