//! What of an address is one tenant.

use anyhow::Result;
use flowguard_tests::{config::Config, guard::Guard, lab::Lab, lan::Lan};

use super::{GATEWAY, await_gateway};

/// Bits of IPv4 and of IPv6.
fn prefixes(lab: &Lab, four: u8, six: u8) -> Config {
    Config::observe(lab).extra(&format!(
        "[gateway]\ninterfaces = [\"{GATEWAY}\"]\nipv4_prefix = {four}\nipv6_prefix = {six}\n"
    ))
}

#[test]
fn networks_are_counted_as_one_and_a_change_inherits_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let guard = Guard::start(&lab, &prefixes(&lab, 24, 56))?;
    await_gateway(&guard, "native")?;
    // The first address of the network, too: written alike, it is another source later.
    let four = lan.client(&["10.80.4.0-10.80.4.9"]).count(30);
    four.clone().run()?.all_connected(30)?;
    let six = lan.client(&[
        "2001:db8:80:400::1",
        "2001:db8:80:4ff::1",
        "2001:db8:80:500::1",
    ]);
    let six = six.to(&["2001:db8:1::1"]).count(30);
    six.run()?.all_connected(30)?;
    guard.expect_attempts("addr:10.80.4.0/24", "direct", 30)?;
    guard.expect_attempts("addr:2001:db8:80:400::/56", "direct", 20)?;
    guard.expect_attempts("addr:2001:db8:80:500::/56", "direct", 10)?;
    guard.expect_sum(60)?;
    // An address means its network; a network of another length means nothing.
    guard.ok(&["block", "addr:10.80.4.77"])?;
    guard.await_verdict("addr:10.80.4.0/24", Some("block"))?;
    let refused = guard.cli(&["block", "addr:10.80.4.0/25"])?.expect_code(2)?;
    assert!(refused.stderr.contains("/24"), "{refused}");
    assert!(
        guard
            .ok(&["show", "addr:10.80.4.3"])?
            .contains("10.80.4.0/24")
    );

    guard.configure(&prefixes(&lab, 32, 64).to_string())?;
    guard.ok(&["reload"])?;
    // The block was the network's, and the network is nobody any more.
    four.run()?.all_connected(30)?;
    guard.expect_attempts("addr:10.80.4.0", "direct", 3)?;
    guard.expect_attempts("addr:10.80.4.9", "direct", 3)?;
    guard.expect_attempts("addr:10.80.4.0/24", "direct", 30)?;
    guard.expect_sum(90)
}

#[test]
fn without_gateways_an_address_is_nobody() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let refused = guard.cli(&["block", "addr:192.0.2.1"])?.expect_code(2)?;
    assert!(refused.stderr.contains("[gateway] interfaces"), "{refused}");
    Ok(())
}
