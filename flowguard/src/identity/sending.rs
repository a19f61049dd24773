//! Which address mail servers see of whoever sends.
//!
//! A hook sees the address at the tenant's end of a connection. At an uplink that is the host's own,
//! which servers see as well. At an edge it is the container's, and what becomes of it on the way out
//! is the business of somebody's address translation: it is told, or known not to be any, or unknown.
//!
//! Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What is told of address translation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translations {
    /// Networks and what becomes of them, the longest prefixes first.
    by_network: Vec<(IpNet, IpAddr)>,
}

impl Translations {
    /// What becomes of each network; of several that an address is in, the longest prefix counts.
    pub fn new(mut by_network: Vec<(IpNet, IpAddr)>) -> Self {
        by_network.sort_by_key(|(from, _)| std::cmp::Reverse(from.prefix_len()));
        Self { by_network }
    }

    /// The address that servers see of `client`, which may be the host's own; none: nobody knows.
    ///
    /// 1. What is told of just this address.
    /// 2. One of the host's own: itself. What is told of networks is about tenants.
    /// 3. What is told of its network.
    /// 4. An address that the world can route to: itself.
    pub fn sent_from(&self, client: IpAddr, is_own: bool) -> Option<IpAddr> {
        let client = client.to_canonical();
        let told = self.by_network.iter().find(|(from, _)| {
            let is_alone = from.prefix_len() == from.max_prefix_len();
            from.contains(&client) && (is_alone || !is_own)
        });
        match told {
            Some((_, to)) => Some(*to),
            None => (is_own || is_global(client)).then_some(client),
        }
    }
}

/// Networks whose addresses the world does not route (IANA's registries of special-purpose
/// addresses; RFC 6890 and its successors), but for those that stand for a service.
const NOT_GLOBAL4: [Ipv4Net; 14] = [
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 0, 24),
    v4(192, 0, 2, 24),
    v4(192, 168, 0, 16),
    v4(198, 18, 0, 15),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
    v4(224, 0, 0, 4),
    v4(240, 0, 0, 4),
];

const fn v4(a: u8, b: u8, c: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), bits)
}

/// All that is assigned to be routed (RFC 4291, section 2.4; IANA).
const GLOBAL6: Ipv6Net = v6(0x2000, 0, 3);

/// But for protocols, documentation and 6to4 (RFC 2928, RFC 3849, RFC 9637, RFC 3056).
const NOT_GLOBAL6: [Ipv6Net; 4] = [
    v6(0x2001, 0, 23),
    v6(0x2001, 0xdb8, 32),
    v6(0x2002, 0, 16),
    v6(0x3fff, 0, 20),
];

const fn v6(a: u16, b: u16, bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), bits)
}

/// Whether the world can route to an address.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_GLOBAL4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL6.contains(&address) && !NOT_GLOBAL6.iter().any(|net| net.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translations() -> Translations {
        let told = [
            ("10.0.0.0/8", "8.8.1.1"),
            ("10.1.0.0/16", "8.8.1.2"),
            ("10.1.2.3/32", "8.8.1.3"),
            ("192.168.7.5/32", "8.8.1.5"),
            ("fd00:1::/32", "2a00:1::25"),
        ];
        Translations::new(
            told.iter()
                .map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()))
                .collect(),
        )
    }

    fn sent_from(client: &str, is_own: bool) -> Option<String> {
        let seen = translations().sent_from(client.parse().unwrap(), is_own);
        seen.map(|address| address.to_string())
    }

    #[test]
    fn what_is_told_goes_by_the_longest_prefix() {
        for (client, seen) in [
            ("10.9.9.9", "8.8.1.1"),
            ("10.1.9.9", "8.8.1.2"),
            ("10.1.2.3", "8.8.1.3"),
            ("::ffff:10.1.2.3", "8.8.1.3"),
            ("fd00:1:7::5", "2a00:1::25"),
        ] {
            assert_eq!(sent_from(client, false).as_deref(), Some(seen), "{client}");
        }
    }

    #[test]
    fn the_hosts_own_address_is_seen_unless_it_is_told_itself() {
        for (own, seen) in [
            ("10.9.9.9", "10.9.9.9"),
            ("fd00:1::1", "fd00:1::1"),
            ("9.9.9.9", "9.9.9.9"),
            // Its provider translates it, one to one.
            ("192.168.7.5", "8.8.1.5"),
        ] {
            assert_eq!(sent_from(own, true).as_deref(), Some(seen), "{own}");
        }
    }

    #[test]
    fn an_address_that_is_routed_is_seen_and_a_private_one_is_not_made_up() {
        for (client, is_seen) in [
            ("9.9.9.9", true),
            ("172.15.255.255", true),
            ("172.17.0.5", false),
            ("172.32.0.0", true),
            ("192.168.7.6", false),
            ("100.127.0.1", false),
            ("100.128.0.1", true),
            ("169.254.1.1", false),
            ("2a00:1::1", true),
            ("2001:db8::1", false),
            ("fd00:2::1", false),
            ("fe80::1", false),
            ("::1", false),
        ] {
            let seen = sent_from(client, false);
            assert_eq!(seen.as_deref(), is_seen.then_some(client), "{client}");
        }
    }
}
