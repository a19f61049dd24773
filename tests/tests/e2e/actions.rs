//! What verdicts do besides refusing: let known servers pass, send elsewhere, stop what is open.

mod kept;
mod new_destinations;
mod redirect;
mod sever;

use anyhow::Result;
use flowguard_tests::{config::Config, guard::Guard, lab::Lab};

/// The source of a container named `web`, and the end of its link.
const WEB: (&str, &str) = ("container:web", "fge0");

/// A guard that knows the container's edge.
fn guard_of_web<'lab>(lab: &'lab Lab, config: &Config) -> Result<Guard<'lab>> {
    let guard = Guard::start(lab, config)?;
    guard.await_edge(WEB.1)?;
    guard.await_identity(WEB.0, "edge fge0")?;
    Ok(guard)
}
