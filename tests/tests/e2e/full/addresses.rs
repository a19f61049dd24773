//! What leads from an address at a gateway to a source.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{config::Config, guard::Guard, lab::Lab, lan::Lan};

use super::{NEWCOMERS, ROOM, identities::SETTING, is_announced};

/// The kernel's table as small as can be, and a gateway.
const SMALL: &str = "[kernel]\nmax_identities = 64\n[gateway]\ninterfaces = [\"gw0\"]\n";
/// As many as there are newcomers.
const CROWD: &str = "10.80.4.0-10.80.6.127";
/// Shorter than a SYN waits for its first retransmission.
const IMPATIENT: Duration = Duration::from_millis(300);

#[test]
fn addresses_beyond_the_table_of_a_gateway_are_counted_and_not_judged() -> Result<()> {
    const A: (&str, &str) = ("10.80.1.1", "addr:10.80.1.1");
    const B: (&str, &str) = ("10.80.1.2", "addr:10.80.1.2");
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let lan = Lan::new(&lab, "gw0")?;
    let guard = Guard::start(&lab, &Config::observe(&lab).extra(SMALL))?;
    guard.await_hook("gateway gw0 (native)")?;
    let (a, b) = (lan.client(&[A.0]), lan.client(&[B.0]));
    guard.ok(&["block", A.1])?;
    b.run()?.all_connected(1)?;
    guard.await_registered(B.1)?;
    let crowd = lan.client(&[CROWD]).count(NEWCOMERS);
    crowd.run()?.all_connected(NEWCOMERS)?;
    is_announced(&guard, "addresses", SETTING)?;
    let a = a.count(10).concurrency(10).timeout(IMPATIENT);
    a.run()?.all_timed_out(10)?;
    b.count(10).run()?.all_connected(10)?;
    assert_eq!(guard.expect_attempts(A.1, "direct", 10)?.denied, 10);
    assert_eq!(guard.expect_attempts(B.1, "direct", 11)?.denied, 0);
    guard.expect_sum(NEWCOMERS + 21)?;
    // Nobody takes an id of a source who cannot be led to it.
    let sources = guard.status()?.tables.get("sources").copied();
    let sources = sources.context("no such table")?;
    ensure!(sources.used <= ROOM, "{sources:?}");
    sink.expect_accepted(NEWCOMERS + 11)
}
