//! Swapping policy numbers: fill the idle bank, flip the word.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use aya::maps::{Array, LpmTrie, MapData, lpm_trie::Key};
use flowguard_common::{
    names::{MAP_BANK, MAP_SETTINGS, MAP_TRUSTED, MAX_TRUSTED},
    settings::{PORT_WORDS, Settings, Smarthost, TrustedKey},
    verdict::Rate,
};
use ipnet::IpNet;

use super::{KernelError, generation::Generation, sys};
use crate::model::Mode;

/// Length of a fan-out epoch: long enough that a site talking to its usual servers stays quiet,
/// short enough that the bitmap does not fill.
const EPOCH_NS: u64 = 3_600_000_000_000;

/// What the kernel needs to know of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The mode.
    pub mode: Mode,
    /// The errno of a refused `connect()`.
    pub deny_errno: u32,
    /// Cookie of the host's network namespace.
    pub host_netns: u64,
    /// Events a source may raise.
    pub event_rate: Rate,
    /// Ceilings by class.
    pub ceilings: [Rate; 3],
    /// Ports whose traffic to the world is direct.
    pub direct_ports: Vec<u16>,
    /// Ports whose traffic to the world is submission.
    pub submission_ports: Vec<u16>,
    /// Trusted destinations.
    pub trusted: Vec<IpNet>,
    /// How long packet hooks wait for an answer before an attempt has timed out.
    pub unanswered_after: Duration,
    /// Hosts that take redirected mail, at most one of each family.
    pub smarthosts: Vec<SocketAddr>,
    /// Leading bits of an IPv4 address that are one source at a gateway.
    pub gateway_bits4: u8,
    /// The same of an IPv6 address.
    pub gateway_bits6: u8,
}

/// The two banks and the word that selects one.
pub struct SettingsBanks {
    settings: Array<MapData, Settings>,
    bank: Array<MapData, u32>,
    trusted: LpmTrie<MapData, TrustedKey, u32>,
}

impl SettingsBanks {
    /// Opens the maps.
    ///
    /// # Errors
    ///
    /// They are not there.
    pub(super) fn open(maps: &Generation) -> Result<Self, KernelError> {
        Ok(Self {
            settings: maps.open(MAP_SETTINGS)?,
            bank: maps.open(MAP_BANK)?,
            trusted: maps.open(MAP_TRUSTED)?,
        })
    }

    /// Puts a policy in force, at once and as a whole; after an error the old one holds.
    ///
    /// # Errors
    ///
    /// Too many trusted destinations, or a map that cannot be written.
    pub fn swap(&mut self, policy: &Policy) -> Result<(), KernelError> {
        // Both banks share the trie.
        let capacity = MAX_TRUSTED as usize / 2;
        if policy.trusted.len() > capacity {
            return Err(KernelError::TooManyTrusted {
                count: policy.trusted.len(),
                capacity,
            });
        }
        let current = self.bank.get(&0, 0).map_err(KernelError::map(MAP_BANK))? & 1;
        let idle = 1 - current;
        // The seed stays for as long as the bitmaps that were made with it.
        let seed = match self
            .settings
            .get(&current, 0)
            .map_err(KernelError::map(MAP_SETTINGS))?
        {
            Settings { epoch_ns: 0, .. } => random(),
            Settings { hash_seed, .. } => hash_seed,
        };
        // A program may still be reading the bank that the last swap retired.
        if let Err(error) = sys::wait_for_programs() {
            tracing::debug!(%error, "waiting for programs");
        }
        self.trust(idle, &policy.trusted)?;
        self.settings
            .set(idle, settings(policy, seed), 0)
            .map_err(KernelError::map(MAP_SETTINGS))?;
        self.bank
            .set(0, idle, 0)
            .map_err(KernelError::map(MAP_BANK))
    }

    /// Makes the trusted prefixes of a bank that is not in force the given ones.
    fn trust(&mut self, bank: u32, trusted: &[IpNet]) -> Result<(), KernelError> {
        let old: Vec<_> = self
            .trusted
            .keys()
            .filter_map(Result::ok)
            .filter(|key| {
                let TrustedKey { bank: of, .. } = key.data();
                of == bank
            })
            .collect();
        for key in old {
            self.trusted
                .remove(&key)
                .map_err(KernelError::map(MAP_TRUSTED))?;
        }
        for net in trusted {
            self.trusted
                .insert(&trusted_key(bank, net), 1, 0)
                .map_err(KernelError::map(MAP_TRUSTED))?;
        }
        Ok(())
    }
}

fn trusted_key(bank: u32, net: &IpNet) -> Key<TrustedKey> {
    let (addr, bits) = match net.network() {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped(), 96 + u32::from(net.prefix_len())),
        IpAddr::V6(v6) => (v6, u32::from(net.prefix_len())),
    };
    Key::new(
        u32::BITS + bits,
        TrustedKey {
            bank,
            addr: addr.octets(),
        },
    )
}

fn settings(policy: &Policy, hash_seed: u64) -> Settings {
    let mut guarded = [0; PORT_WORDS];
    let mut submission = [0; PORT_WORDS];
    for port in &policy.direct_ports {
        set(&mut guarded, *port);
    }
    for port in &policy.submission_ports {
        set(&mut guarded, *port);
        set(&mut submission, *port);
    }
    Settings {
        mode: match policy.mode {
            Mode::Observe => flowguard_common::settings::MODE_OBSERVE,
            Mode::Enforce => flowguard_common::settings::MODE_ENFORCE,
        },
        deny_errno: policy.deny_errno,
        host_netns: policy.host_netns,
        hash_seed,
        epoch_ns: EPOCH_NS,
        event_rate: policy.event_rate,
        ceilings: policy.ceilings,
        guarded,
        submission,
        answer_ns: u64::try_from(policy.unanswered_after.as_nanos()).unwrap_or(u64::MAX),
        smarthosts: smarthosts(&policy.smarthosts),
        gateway_bits4: policy.gateway_bits4.into(),
        gateway_bits6: policy.gateway_bits6.into(),
    }
}

fn smarthosts(hosts: &[SocketAddr]) -> [Smarthost; 2] {
    let mut smarthosts = [Smarthost::default(); 2];
    for host in hosts {
        let (family, addr) = match host.ip() {
            IpAddr::V4(v4) => (0, v4.to_ipv6_mapped()),
            IpAddr::V6(v6) => (1, v6),
        };
        smarthosts[family] = Smarthost {
            addr: addr.octets(),
            port: host.port().into(),
            pad: 0,
        };
    }
    smarthosts
}

fn set(ports: &mut [u64; PORT_WORDS], port: u16) {
    ports[usize::from(port) / 64] |= 1 << (port % 64);
}

/// A number nobody outside can guess, from the standard library's randomly keyed hasher.
fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v4_and_v6_prefixes_share_the_trie() {
        let v4: IpNet = "192.0.2.0/24".parse().unwrap();
        let v6: IpNet = "2001:db8::/32".parse().unwrap();
        assert_eq!(trusted_key(1, &v4).prefix_len(), 32 + 96 + 24);
        assert_eq!(trusted_key(1, &v6).prefix_len(), 32 + 32);
        let TrustedKey { addr, .. } = trusted_key(1, &v4).data();
        assert_eq!(addr, flowguard_common::addr::from_v4([192, 0, 2, 0]));
    }
}
