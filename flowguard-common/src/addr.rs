//! IPv4 and IPv6 addresses in one form.

/// An address as 16 bytes in network order; IPv4 as an IPv4-mapped IPv6 address (RFC 4291,
/// section 2.5.5.2), so that `::ffff:192.0.2.1` and `192.0.2.1` are the same destination.
pub type Addr = [u8; 16];

/// Maps an IPv4 address, in network order, into the common form.
#[inline(always)]
pub const fn from_v4(v4: [u8; 4]) -> Addr {
    [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, v4[0], v4[1], v4[2], v4[3],
    ]
}

/// Whether this is an IPv4 address.
#[inline(always)]
pub fn is_v4(addr: &Addr) -> bool {
    let [high, low] = halves(addr);
    high == 0 && low >> 32 == 0xffff
}

/// Whether a connection to `addr` stays on this host whatever its routes say: 127.0.0.0/8, `::1`,
/// and the unspecified addresses, which Linux takes for loopback.
#[inline(always)]
pub fn is_loopback(addr: &Addr) -> bool {
    let [high, low] = halves(addr);
    if high != 0 {
        return false;
    }
    // ::, ::1; then ::ffff:127.0.0.0/104 and ::ffff:0.0.0.0.
    low <= 1 || low >> 24 == 0x00ff_ff7f || low == 0xffff_0000_0000
}

/// The address as two integers in host order: cheap to compare and to hash.
#[inline(always)]
pub fn halves(addr: &Addr) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *addr;
    [
        u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        u64::from_be_bytes([i, j, k, l, m, n, o, p]),
    ]
}

/// A 64-bit mix of the address under a seed (the finaliser of MurmurHash3, Austin Appleby, public
/// domain), for bitmaps and cache slots; no defence against somebody who knows the seed.
#[inline(always)]
pub fn hash(addr: &Addr, seed: u64) -> u64 {
    let [high, low] = halves(addr);
    mix(mix(high ^ seed).wrapping_add(low))
}

/// The finaliser of MurmurHash3.
#[inline(always)]
pub const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn loopback_is_what_stays_on_this_host() {
        for (addr, expected) in [
            ("::", true),
            ("::1", true),
            ("::2", false),
            ("::ffff:127.0.0.1", true),
            ("::ffff:127.255.255.255", true),
            ("::ffff:128.0.0.1", false),
            ("::ffff:126.255.255.255", false),
            ("::ffff:0.0.0.0", true),
            ("::ffff:0.0.0.1", false),
            ("::fffe:127.0.0.1", false),
            ("2001:db8::1", false),
            ("1::1", false),
        ] {
            let parsed: Ipv6Addr = addr.parse().unwrap();
            assert_eq!(is_loopback(&parsed.octets()), expected, "{addr}");
        }
    }

    proptest! {
        #[test]
        fn mapping_agrees_with_the_standard_library(v4: [u8; 4]) {
            prop_assert_eq!(from_v4(v4), Ipv4Addr::from(v4).to_ipv6_mapped().octets());
        }
    }
}
