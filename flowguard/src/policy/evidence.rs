//! What the engine is told.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use super::measure::Fields;
use crate::{
    control::api::ActionName,
    model::{ClassName, SourceName, Totals},
};

/// What one source has done in one class so far.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Source id, dense: the engine's memory grows with the largest.
    pub source: u32,
    /// Who that is.
    pub name: &'a SourceName,
    /// In which class.
    pub class: ClassName,
    /// Its counters, cumulative.
    pub totals: Totals,
    /// Which of them are known.
    pub known: Fields,
    /// The configuration says never to judge it.
    pub exempt: bool,
    /// The verdict on it that is in force in this class.
    pub verdict: Option<Standing>,
    /// Its hosting package, if a panel told.
    pub package: Option<&'a str>,
    /// Groups of a host user.
    pub groups: &'a [String],
}

/// A verdict in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it does.
    pub action: ActionName,
    /// Whether a person ordered it.
    pub by_hand: bool,
}

impl Standing {
    /// Whether the source is weighed on nevertheless: a rule's mild verdict lets it show whether it
    /// is bad. What a person ordered stays as it is, and who can send nothing shows nothing new.
    pub const fn is_mild(self) -> bool {
        !self.by_hand && matches!(self.action, ActionName::NewDestinations | ActionName::Limit)
    }
}

/// A mail server's reply that says no.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// Source id of whom it was told.
    pub source: u32,
    /// In which class.
    pub class: ClassName,
    /// The server.
    pub server: IpAddr,
    /// The reply, from its code on.
    pub text: &'a str,
    /// The address that was sent from, as the server saw it, if known.
    pub sent_from: Option<Origin>,
}

/// A sending address, as those who keep blacklists see it: an IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let prefix = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(prefix))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl Origin {
    /// The address, or the first of the network.
    pub const fn address(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}
