//! One hook a file. What two hooks share is a function beside them.

pub(crate) mod answers;
pub(crate) mod connect;
mod connect4;
mod connect6;
pub(crate) mod device;
mod edge;
mod edge_answers;
mod gateway;
mod netns_probe;
mod peername;
mod sock_create;
mod sock_release;
mod sweep;
mod uplink;
mod uplink_answers;

use flowguard_common::{addr::Addr, settings::Settings};

use crate::maps::{BANK, SETTINGS};

/// The policy numbers in force, and the bank they are in. None before the daemon wrote any:
/// everything passes.
#[inline(always)]
fn settings() -> Option<(u32, &'static Settings)> {
    let bank = *BANK.get(0)? & 1;
    Some((bank, SETTINGS.get(bank)?))
}

/// The policy numbers of a bank that [`settings`] told: what began with them ends with them.
#[inline(always)]
pub(crate) fn settings_of(bank: u32) -> Option<&'static Settings> {
    SETTINGS.get(bank & 1)
}

/// An address as the kernel's contexts have it: four words in network order.
#[inline(always)]
fn words(addr: &Addr) -> [u32; 4] {
    let word = |at: usize| u32::from_ne_bytes([addr[at], addr[at + 1], addr[at + 2], addr[at + 3]]);
    [word(0), word(4), word(8), word(12)]
}
