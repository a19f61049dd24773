//! Tenants that a router tells by their addresses.

mod devices;
mod packets;
mod prefixes;
mod verdicts;

use anyhow::Result;
use flowguard_tests::{config::Config, guard::Guard, lab::Lab};

/// The device behind which the customers are.
pub(crate) const GATEWAY: &str = "gw0";
/// Two customers, and the sources that they are.
pub(crate) const A: (&str, &str) = ("10.80.1.1", "addr:10.80.1.1");
pub(crate) const B: (&str, &str) = ("10.80.1.2", "addr:10.80.1.2");

/// A configuration with gateways, attached in this mode.
fn gateways(config: Config, mode: &str) -> Config {
    config.extra(&format!(
        "[gateway]\ninterfaces = [\"gw*\"]\nmode = {mode:?}\n"
    ))
}

/// A guard whose gateway is attached.
pub(crate) fn start<'lab>(lab: &'lab Lab, base: Config, mode: &str) -> Result<Guard<'lab>> {
    let guard = Guard::start(lab, &gateways(base, mode))?;
    await_gateway(&guard, mode)?;
    Ok(guard)
}

fn await_gateway(guard: &Guard<'_>, mode: &str) -> Result<()> {
    guard.await_hook(&format!("gateway {GATEWAY} ({mode})"))
}
