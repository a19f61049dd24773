//! Where tenants' traffic enters, told by the names of interfaces, and what of an address is one
//! tenant.

use std::net::IpAddr;

use flowguard_common::source::{MAX_BITS4, MAX_BITS6};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{check::Checker, edges::Globs, raw::RawGateway};

/// `[gateway]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    interfaces: Globs,
    /// How the program is attached.
    pub mode: GatewayMode,
    /// Leading bits of an IPv4 address that are one source, 1 to 32.
    pub ipv4_prefix: u8,
    /// The same of an IPv6 address, 1 to 64.
    pub ipv6_prefix: u8,
}

/// How the program is attached to gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayMode {
    /// Natively where the driver can, else in the kernel's network stack.
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the kernel's network stack.
    Generic,
}

impl Gateway {
    /// Whether any interface could be a gateway.
    pub fn is_used(&self) -> bool {
        !self.interfaces.is_empty()
    }

    /// Whether the interface is a gateway, by its name.
    pub fn matches(&self, name: &str) -> bool {
        self.interfaces.matches(name)
    }

    /// The source that an address belongs to, or that a network is; the length that it should have
    /// if it is none.
    ///
    /// # Errors
    ///
    /// The network is neither one address nor of the configured length.
    pub fn source_of(&self, net: IpNet) -> Result<IpNet, u8> {
        let (net, bits) = match net {
            IpNet::V4(_) => (net, self.ipv4_prefix),
            IpNet::V6(v6) => match v6.addr().to_ipv4_mapped() {
                Some(v4) if v6.prefix_len() == v6.max_prefix_len() => {
                    (IpAddr::from(v4).into(), self.ipv4_prefix)
                }
                _ => (net, self.ipv6_prefix),
            },
        };
        if net.prefix_len() != net.max_prefix_len() && net.prefix_len() != bits {
            return Err(bits);
        }
        IpNet::new(net.addr(), bits)
            .map(|net| net.trunc())
            .map_err(|_| bits)
    }
}

/// Interprets `[gateway]`.
pub(super) fn gateway(raw: &RawGateway, check: &mut Checker<'_>) -> Option<Gateway> {
    let interfaces = check.globs("gateway.interfaces", &raw.interfaces);
    let mut prefix = |key, value, max: u32| check.integer(key, value, 1, i64::from(max));
    let ipv4_prefix = prefix("gateway.ipv4_prefix", &raw.ipv4_prefix, MAX_BITS4);
    let ipv6_prefix = prefix("gateway.ipv6_prefix", &raw.ipv6_prefix, MAX_BITS6);
    Some(Gateway {
        interfaces: interfaces?,
        mode: raw.mode,
        ipv4_prefix: ipv4_prefix?,
        ipv6_prefix: ipv6_prefix?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_its_prefixs() {
        let gateway = Gateway {
            interfaces: Globs::new(&[]).unwrap(),
            mode: GatewayMode::Auto,
            ipv4_prefix: 24,
            ipv6_prefix: 56,
        };
        let source_of = |net: &str| {
            gateway
                .source_of(net.parse().unwrap())
                .map(|net| net.to_string())
        };
        for (net, source) in [
            ("192.0.2.7/32", Ok("192.0.2.0/24".to_owned())),
            ("192.0.2.7/24", Ok("192.0.2.0/24".to_owned())),
            ("192.0.2.0/25", Err(24)),
            ("2001:db8:1:2::5/128", Ok("2001:db8:1::/56".to_owned())),
            ("2001:db8::/64", Err(56)),
            ("::ffff:192.0.2.7/128", Ok("192.0.2.0/24".to_owned())),
        ] {
            assert_eq!(source_of(net), source, "{net}");
        }
        assert!(!gateway.is_used());
    }
}
