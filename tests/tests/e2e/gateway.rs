//! Tenants that a router tells by their addresses.

use anyhow::Result;
use flowguard_tests::{config::Config, guard::Guard, lab::Lab, lan::Lan};

/// The device behind which the customers are.
const GATEWAY: &str = "gw0";

/// A configuration with a gateway, and the mode that it is attached in.
fn config(config: Config, mode: &str) -> Config {
    config.extra(&format!(
        "[gateway]\ninterfaces = [\"gw*\"]\nmode = {mode:?}\n"
    ))
}

fn start<'lab>(lab: &'lab Lab, base: Config, mode: &str) -> Result<Guard<'lab>> {
    let guard = Guard::start(lab, &config(base, mode))?;
    guard.await_hook(&format!("gateway {GATEWAY} ({mode})"))?;
    Ok(guard)
}

/// Each address is one source, in both families, over both modes.
fn addresses_are_counted_apart(mode: &str) -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let guard = start(&lab, Config::observe(&lab), mode)?;
    let many = lan.client(&["10.80.1.1-10.80.1.50"]).count(500);
    many.concurrency(2).run()?.all_connected(500)?;
    let other = lan.client(&["10.80.2.9"]).count(7);
    other.port(587).run()?.all_connected(7)?;
    // Two addresses of one /64, and one of another.
    let six = lan.client(&["2001:db8:80:1::1", "2001:db8:80:1::2", "2001:db8:80:2::1"]);
    let six = six.to(&["2001:db8:1::1"]).count(30);
    six.run()?.all_connected(30)?;
    sink.expect_accepted(537)?;
    for host in 1..=50 {
        guard.expect_attempts(&format!("addr:10.80.1.{host}"), "direct", 10)?;
    }
    guard.expect_attempts("addr:10.80.2.9", "submission", 7)?;
    guard.expect_attempts("addr:2001:db8:80:1::/64", "direct", 20)?;
    guard.expect_attempts("addr:2001:db8:80:2::/64", "direct", 10)?;
    guard.expect_sum(537)
}

#[test]
fn addresses_are_counted_apart_natively() -> Result<()> {
    addresses_are_counted_apart("native")
}

#[test]
fn addresses_are_counted_apart_generically() -> Result<()> {
    addresses_are_counted_apart("generic")
}
