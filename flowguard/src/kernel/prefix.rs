//! Prefixes at gateways, as people write them and as the kernel's maps have them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flowguard_common::source::{KEY_ADDR4, KEY_ADDR6, MAX_BITS4, MAX_BITS6};
use ipnet::IpNet;

/// Kind and id of a prefix (see [`flowguard_common::source::prefix_key`]); none: a gateway has no
/// such prefixes.
pub(super) fn key_of(net: IpNet) -> Option<(u32, u64)> {
    let net = net.trunc();
    let bits = u32::from(net.prefix_len());
    match net.network() {
        IpAddr::V4(v4) if (1..=MAX_BITS4).contains(&bits) => {
            Some((KEY_ADDR4 + bits, u32::from(v4).into()))
        }
        IpAddr::V6(v6) if (1..=MAX_BITS6).contains(&bits) => {
            Some((KEY_ADDR6 + bits, (u128::from(v6) >> u64::BITS) as u64))
        }
        _ => None,
    }
}

/// The prefix that a kind and an id are, if they are one.
pub(super) fn net_of(kind: u32, id: u64) -> Option<IpNet> {
    let bits = |base: u32, max: u32| {
        let bits = kind.checked_sub(base)?;
        u8::try_from(bits)
            .ok()
            .filter(|_| (1..=max).contains(&bits))
    };
    let (address, bits) = if let Some(bits) = bits(KEY_ADDR4, MAX_BITS4) {
        (Ipv4Addr::from(u32::try_from(id).ok()?).into(), bits)
    } else {
        let address = Ipv6Addr::from(u128::from(id) << u64::BITS);
        (address.into(), bits(KEY_ADDR6, MAX_BITS6)?)
    };
    let net = IpNet::new(address, bits).ok()?;
    (net == net.trunc()).then_some(net)
}

#[cfg(test)]
mod tests {
    use flowguard_common::source::prefix_key;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn programs_and_daemon_mean_the_same_prefix(
            v4: u32,
            v6: u128,
            bits4 in 1_u8..=32,
            bits6 in 1_u8..=64,
        ) {
            let v6 = v6 | 1 << 127;
            for (address, bits, mapped) in [
                (IpAddr::from(Ipv4Addr::from(v4)), bits4, Ipv4Addr::from(v4).to_ipv6_mapped()),
                (IpAddr::from(Ipv6Addr::from(v6)), bits6, Ipv6Addr::from(v6)),
            ] {
                let net = IpNet::new(address, bits).unwrap();
                let key = prefix_key(&mapped.octets(), bits4.into(), bits6.into());
                prop_assert_eq!(key_of(net), Some(key));
                prop_assert_eq!(net_of(key.0, key.1), Some(net.trunc()));
            }
        }

        #[test]
        fn no_map_content_makes_it_panic(kind in 0_u32..300, id: u64) {
            if let Some(net) = net_of(kind, id) {
                prop_assert_eq!(key_of(net), Some((kind, id)));
            }
        }
    }
}
