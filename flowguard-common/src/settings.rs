//! Policy numbers that the kernel programs read with every guarded connection.
//!
//! There are two banks. The daemon fills the idle one, its trusted prefixes included, and then
//! flips the `BANK` word: a program sees the old policy or the new one, never a mixture.

use crate::{
    addr::{self, Addr},
    class::{CLASSES, Class},
    verdict::Rate,
};

/// Verdicts are computed and counted, and nothing is denied except by hand.
pub const MODE_OBSERVE: u32 = 0;
/// Verdicts are carried out.
pub const MODE_ENFORCE: u32 = 1;

/// Words of a bitmap over all 65,536 ports.
pub const PORT_WORDS: usize = 65_536 / 64;

/// One bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// [`MODE_OBSERVE`] or [`MODE_ENFORCE`].
    pub mode: u32,
    /// The errno a denied `connect()` gets, where the kernel can set one: 111 (ECONNREFUSED)
    /// or 1 (EPERM).
    pub deny_errno: u32,
    /// Cookie of the host's network namespace: uids mean host users only there. 0: the kernel
    /// does not tell it (before Linux 5.14), and every namespace passes for the host's.
    pub host_netns: u64,
    /// Seed of the destination hash.
    pub hash_seed: u64,
    /// Length of a fan-out epoch, nanoseconds.
    pub epoch_ns: u64,
    /// Events a source may raise.
    pub event_rate: Rate,
    /// Attempts any source may make, by class, whatever its verdict; an `allow` lifts them.
    pub ceilings: [Rate; CLASSES as usize],
    /// Ports that are counted and judged at all.
    pub guarded: [u64; PORT_WORDS],
    /// Those of the guarded ports that take submissions.
    pub submission: [u64; PORT_WORDS],
    /// How long packet hooks wait for an answer before an attempt has timed out, nanoseconds.
    pub answer_ns: u64,
    /// Where redirected connections go, by family: IPv4, then IPv6.
    pub smarthosts: [Smarthost; 2],
    /// Leading bits of an IPv4 address that are one source at a gateway, 1 to 32.
    pub gateway_bits4: u32,
    /// The same of an IPv6 address, 1 to 64.
    pub gateway_bits6: u32,
}

const _: () = assert!(
    size_of::<Settings>() == 32 + 4 * 16 + 2 * 8192 + 8 + 2 * 24 + 8 && align_of::<Settings>() == 8
);

/// A host that takes the mail of those who may not send it directly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Smarthost {
    /// Address.
    pub addr: Addr,
    /// Port, host order; 0: there is none in this family.
    pub port: u32,
    /// Zero.
    pub pad: u32,
}

impl Settings {
    /// Whether connections to this port are counted and judged.
    #[inline(always)]
    pub fn is_guarded(&self, port: u16) -> bool {
        has(&self.guarded, port)
    }

    /// Whether this is the cookie of the host's network namespace.
    #[inline(always)]
    pub const fn is_host(&self, netns: u64) -> bool {
        self.host_netns == 0 || self.host_netns == netns
    }

    /// The host that takes redirected mail for this destination's family.
    #[inline(always)]
    pub fn smarthost(&self, dst: &Addr) -> Option<&Smarthost> {
        let smarthost = &self.smarthosts[if addr::is_v4(dst) { 0 } else { 1 }];
        if smarthost.port == 0 {
            None
        } else {
            Some(smarthost)
        }
    }

    /// The class of a connection to a guarded port; `trusted` says that the destination is on the
    /// list of trusted ones.
    #[inline(always)]
    pub fn class(&self, dst: &Addr, port: u16, trusted: bool) -> Class {
        if trusted || addr::is_loopback(dst) {
            Class::Relay
        } else if has(&self.submission, port) {
            Class::Submission
        } else {
            Class::Direct
        }
    }
}

#[inline(always)]
fn has(ports: &[u64; PORT_WORDS], port: u16) -> bool {
    // Up to Linux 6.12 the verifier forgets the bounds of a byte-swapped number, and the compiler,
    // which knows them, leaves no mask for it to see. Read back from the stack, it has 16 bits to
    // both. Linux 6.1 said "R2 max value is outside of the allowed memory range".
    let port = core::hint::black_box(port);
    ports[usize::from(port) / 64] & (1 << (port % 64)) != 0
}

/// Key data of the `TRUSTED` trie: the bank, then the address. The prefix length counts the
/// bank's 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct TrustedKey {
    /// Which bank the prefix belongs to.
    pub bank: u32,
    /// Address.
    pub addr: Addr,
}

const _: () = assert!(size_of::<TrustedKey>() == 20);

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let rate = Rate {
            interval_ns: 0,
            burst: 0,
        };
        let mut settings = Settings {
            mode: MODE_OBSERVE,
            deny_errno: 111,
            host_netns: 1,
            hash_seed: 0,
            epoch_ns: 1,
            event_rate: rate,
            ceilings: [rate; CLASSES as usize],
            guarded: [0; PORT_WORDS],
            submission: [0; PORT_WORDS],
            answer_ns: 1,
            smarthosts: [Smarthost::default(); 2],
            gateway_bits4: 32,
            gateway_bits6: 64,
        };
        for port in [25, 465, 65_535] {
            settings.guarded[port / 64] |= 1 << (port % 64);
        }
        settings.submission[465 / 64] |= 1 << (465 % 64);
        settings
    }

    #[test]
    fn ports_make_the_class() {
        let settings = settings();
        let world = addr::from_v4([192, 0, 2, 1]);
        assert_eq!(settings.class(&world, 25, false), Class::Direct);
        assert_eq!(settings.class(&world, 465, false), Class::Submission);
        assert_eq!(settings.class(&world, 465, true), Class::Relay);
        assert_eq!(
            settings.class(&addr::from_v4([127, 0, 0, 1]), 25, false),
            Class::Relay
        );
        for port in 0..=u16::MAX {
            assert_eq!(
                settings.is_guarded(port),
                [25, 465, 65_535].contains(&port),
                "{port}"
            );
        }
    }
}
