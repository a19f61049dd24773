//! The mail servers of the world, and who has mailboxes where.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use flowguard_common::addr::{self, Addr};

/// Servers of the few providers that most mailboxes are at (Google, Microsoft, Yahoo, Apple, the large
/// national ones), each name with several addresses.
const LARGE: u32 = 60;
/// Servers of everybody else.
const SMALL: u32 = 40_000;
/// Of a thousand recipients, so many are at the large providers.
const AT_LARGE: u32 = 600;
/// One server in so many is spoken to over IPv6.
const IPV6: u32 = 4;

/// A mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Server(u32);

impl Server {
    /// The server that somebody draws from all recipients there are.
    pub(crate) fn of_anybody(rng: &mut Rng) -> Self {
        if rng.u32(0..1000) < AT_LARGE {
            Self(rng.u32(0..LARGE))
        } else {
            Self::small(rng)
        }
    }

    /// A server that is none of the large ones. Some are far more used than others: the square of an
    /// even draw crowds the low numbers.
    pub(crate) fn small(rng: &mut Rng) -> Self {
        let draw = rng.f64();
        Self(LARGE + (draw * draw * f64::from(SMALL)) as u32)
    }

    /// Where it is.
    pub(crate) fn address(self) -> Addr {
        let Self(number) = self;
        if number % IPV6 == 0 {
            Ipv6Addr::from((0x2001_0db8_u128 << 96) | u128::from(number) << 64 | 1).octets()
        } else {
            addr::from_v4(Ipv4Addr::from(0xc600_0000 + number).octets())
        }
    }

    /// The same, as people write it.
    pub(crate) fn ip(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.address())).to_canonical()
    }
}

/// The servers of a list of recipients, each as often as it has recipients.
pub(crate) fn list(rng: &mut Rng, recipients: usize) -> Vec<Server> {
    (0..recipients).map(|_| Server::of_anybody(rng)).collect()
}
