//! Ways around the guard that root of a container has, each tried for real: by a process that is
//! root in the container's network namespace with `CAP_NET_ADMIN` and `CAP_NET_RAW`, and has no
//! other right.
//!
//! The numbers in the tests' names are those of the table of ways around the guard.

mod engines;
mod flood;
mod fragments;
mod hidden;
mod link;
mod raw;
mod rewrite;
mod root;
mod tags;
mod tunnels;
mod userns;
mod witness;

use anyhow::Result;
use flowguard_tests::{config::Config, container::Container, guard::Guard, lab::Lab};

use self::root::Root;

/// The source of a container named `web`, and the end of its link.
const WEB: (&str, &str) = ("container:web", "fge0");
/// The source of a namespace that nobody manages, and the end of its link.
const VM: (&str, &str) = ("iface:fge7", "fge7");
/// Different SYNs that one run of the forging program sends.
const SYNS: u64 = 10;

/// A guard that knows these sources' edges.
fn guard<'lab>(lab: &'lab Lab, config: &Config, sources: &[(&str, &str)]) -> Result<Guard<'lab>> {
    let guard = Guard::start(lab, config)?;
    for (source, edge) in sources {
        guard.await_edge(edge)?;
        guard.await_identity(source, &format!("edge {edge}"))?;
    }
    Ok(guard)
}

/// What the programs count about themselves, of `status --json`.
fn kernel_counter(guard: &Guard<'_>, name: &str) -> Result<u64> {
    Ok(guard.status()?.counted(name))
}

/// Each way, tried by a container and by a namespace that nobody manages, is counted once for
/// whoever tried it. Then the container is blocked: nothing of its gets through any more, which is
/// counted too, and its neighbour's does.
fn counted_and_dropped(ways: &[&str]) -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let vm = Container::unmanaged(&lab, VM.1)?;
    let guard = guard(&lab, &Config::observe(&lab), &[WEB, VM])?;
    let (web, vm) = (Root::of(&lab, &web)?, Root::of(&lab, &vm)?);
    let all = SYNS * ways.len() as u64;
    for way in ways {
        web.forge(way)?.expect(SYNS, SYNS)?;
        vm.forge(way)?.expect(SYNS, SYNS)?;
    }
    guard.expect_attempts(WEB.0, "direct", all)?;
    guard.expect_attempts(VM.0, "direct", all)?;
    guard.expect_sum(2 * all)?;
    guard.ok(&["block", WEB.0])?;
    for way in ways {
        web.forge(way)?.expect(SYNS, 0)?;
        vm.forge(way)?.expect(SYNS, SYNS)?;
    }
    let denied = guard.expect_attempts(WEB.0, "direct", 2 * all)?.denied;
    assert_eq!(denied, all);
    let denied = guard.expect_attempts(VM.0, "direct", 2 * all)?.denied;
    assert_eq!(denied, 0);
    guard.expect_sum(4 * all)
}
