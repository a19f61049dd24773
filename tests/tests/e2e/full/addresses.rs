//! What leads from an address at a gateway to a source.

use anyhow::Result;
use flowguard_tests::{client::IMPATIENT, config::Config, lab::Lab, lan::Lan};

use super::{
    NEWCOMERS, ROOM,
    identities::{SETTING, SMALL},
    is_announced, no_more_sources_than,
};
use crate::gateway::{self, A, B, GATEWAY};

/// As many as there are newcomers.
const CROWD: &str = "10.80.4.0-10.80.6.127";

#[test]
fn addresses_beyond_the_table_of_a_gateway_are_counted_and_not_judged() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let guard = gateway::start(&lab, Config::observe(&lab).extra(SMALL), "native")?;
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
    no_more_sources_than(&guard, ROOM)?;
    sink.expect_accepted(NEWCOMERS + 11)
}
