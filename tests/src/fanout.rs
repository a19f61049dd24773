//! Which destinations a running guard takes for one another: the bit of each in its bitmaps, which a
//! seed of its own decides.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::Result;
use flowguard_common::{addr, fanout};

use crate::{lab::Lab, pinned::Pinned};

/// The bitmaps' seed.
#[derive(Clone, Copy, Debug)]
pub struct Seed(u64);

impl Seed {
    /// Of the guard that is pinned in a lab.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(lab: &Lab) -> Result<Self> {
        let settings = Pinned::of(lab)?.settings()?;
        Ok(Self(settings.hash_seed))
    }

    /// The bit of a destination.
    pub fn bit(self, destination: IpAddr) -> u32 {
        let address = match destination {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let (word, bit) = fanout::position(addr::hash(&address.octets(), self.0));
        word as u32 * u64::BITS + bit.trailing_zeros()
    }

    /// So many addresses of the world from 198.18.0.1 on, each with a bit of its own.
    pub fn distinct(self, count: usize) -> Vec<String> {
        let mut bits = HashSet::new();
        (1..=u8::MAX)
            .map(|last| Ipv4Addr::new(198, 18, 0, last))
            .filter(|address| bits.insert(self.bit(IpAddr::V4(*address))))
            .map(|address| address.to_string())
            .take(count)
            .collect()
    }
}
