//! The kernel's tables that can be full, and what that means to an operator.

use std::fmt;

use super::Identity;

/// A table of the kernel that has room for so many and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Sources with their names and counters.
    Sources,
    /// uids that lead to a source.
    Uids,
    /// Cgroups that lead to a source.
    Cgroups,
    /// Network namespaces that lead to a source.
    Namespaces,
    /// Devices that are guarded.
    Edges,
    /// Prefixes at gateways that lead to a source.
    Addresses,
    /// Identities that were counted before they were registered.
    Unregistered,
}

/// How many sorts of [`Identity`] there are.
pub(super) const IDENTITIES: usize = 5;

impl Table {
    /// The table in which an identity is found.
    pub const fn of(identity: Identity) -> Self {
        match identity {
            Identity::Uid(_) => Self::Uids,
            Identity::Cgroup(_) => Self::Cgroups,
            Identity::Netns(_) => Self::Namespaces,
            Identity::Edge(_) => Self::Edges,
            Identity::Addr(_) => Self::Addresses,
        }
    }

    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Uids => "uids",
            Self::Cgroups => "cgroups",
            Self::Namespaces => "namespaces",
            Self::Edges => "edges",
            Self::Addresses => "addresses",
            Self::Unregistered => "unregistered",
        }
    }

    /// The setting that makes it larger.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Sources => "kernel.max_sources",
            Self::Uids | Self::Cgroups | Self::Namespaces | Self::Addresses => {
                "kernel.max_identities"
            }
            Self::Edges => "kernel.max_edges",
            Self::Unregistered => "kernel.max_unregistered",
        }
    }

    /// What is full, and what becomes of those for whom there is no room.
    const fn consequence(self) -> (&'static str, &'static str) {
        match self {
            Self::Sources => (
                "sources",
                "The traffic of others passes, and is counted but not judged",
            ),
            Self::Uids => (
                "users",
                "The traffic of others passes, and is counted but not judged",
            ),
            Self::Cgroups => (
                "cgroups of containers",
                "Others are known by their interface only, and without one by their users",
            ),
            Self::Namespaces => (
                "network namespaces",
                "The root users of others are counted but not judged, except at their interfaces",
            ),
            Self::Edges => (
                "interfaces",
                "Others are not guarded: what containers and VMs send there passes, and only what \
                 the connect hooks see is counted",
            ),
            Self::Addresses => (
                "addresses at gateways",
                "The traffic of others passes, and is counted but not judged",
            ),
            Self::Unregistered => (
                "identities that nobody had registered yet",
                "Attempts that others make until they are registered, mostly less than a second, \
                 pass and are not counted",
            ),
        }
    }

    /// What to tell an operator when `capacity` are there and no more fit.
    pub fn full(self, capacity: u64) -> Full {
        Full {
            table: self,
            capacity,
        }
    }

    pub(super) const fn index(self) -> Option<usize> {
        match self {
            Self::Uids => Some(0),
            Self::Cgroups => Some(1),
            Self::Namespaces => Some(2),
            Self::Edges => Some(3),
            Self::Addresses => Some(4),
            Self::Sources | Self::Unregistered => None,
        }
    }
}

/// A table is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Which.
    pub table: Table,
    /// How many it holds.
    pub capacity: u64,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, consequence) = self.table.consequence();
        write!(
            f,
            "there is no room for more {what} than the {} there are. {consequence}. Raise `{}` \
             and restart the daemon: counts and verdicts stay",
            self.capacity,
            self.table.setting()
        )
    }
}
