//! One hook a file. What two hooks share is a function beside them.

pub(crate) mod connect;
mod connect4;
mod connect6;
pub(crate) mod edge;
mod sock_create;

use flowguard_common::settings::Settings;

use crate::maps::{BANK, SETTINGS};

/// The policy numbers in force. None before the daemon wrote any: everything passes.
#[inline(always)]
fn settings() -> Option<(u32, &'static Settings)> {
    let bank = *BANK.get(0)? & 1;
    Some((bank, SETTINGS.get(bank)?))
}
