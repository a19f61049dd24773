//! What is wrong, for `flowguard status`: of each matter the latest word, until it is well again.

use std::collections::BTreeMap;

use super::state::State;
use crate::kernel::Table;

/// What a warning is about.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum About {
    /// The guard's pins.
    Pins,
    /// A table of the kernel.
    Table(Table),
    /// The room for sources that was configured.
    Capacity,
    /// Outcomes of connections.
    Flows,
    /// The settling of what nobody answered.
    Sweep,
    /// This host's own addresses.
    LocalAddresses,
    /// The smarthosts of `redirect`.
    Smarthosts,
    /// An interface, by its index.
    Device(u32),
    /// The configuration of a gateway, by its interface's index.
    Gateway(u32),
    /// That there is no gateway.
    Gateways,
    /// Connections that nobody accounts for.
    Strays,
    /// The search for processes behind interfaces.
    Peers,
    /// The watch on cgroups.
    CgroupWatch,
    /// The patterns by which containers are known.
    Containers,
    /// The names of containers.
    Names,
    /// The names of users.
    Users,
    /// The groups of users.
    Groups,
    /// The mapping of panels.
    Mapping,
    /// Lines of the mapping.
    MappingLines,
    /// What happened to the database.
    Database,
    /// That the history cannot be written.
    Store,
    /// That the history was shortened.
    History,
    /// What the history lost.
    Lost,
}

/// All that is wrong.
pub(super) type Warnings = BTreeMap<About, String>;

impl State {
    /// Notes what is wrong, or that it is well again.
    pub(super) fn warn(&mut self, about: About, what: Option<String>) {
        match what {
            Some(what) if self.warnings.get(&about) != Some(&what) => {
                tracing::warn!("{what}");
                self.warnings.insert(about, what);
            }
            Some(_) => {}
            None => {
                self.warnings.remove(&about);
            }
        }
    }
}
