//! What is counted of which packets.

use std::time::Duration;

use anyhow::{Result, ensure};
use flowguard_tests::{
    client::ONE_RETRANSMISSION,
    config::Config,
    expect::totals,
    lab::{Lab, UPLINK},
    lan::Lan,
};

use super::{A, B, GATEWAY, start};

/// More than the flood takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each address is one source, in both families and both modes.
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
    // Nobody listens on the host itself.
    let own = lan.client(&["10.80.2.10"]).to(&["10.79.0.1"]).count(3);
    own.run()?.all_unanswered(3)?;
    sink.expect_accepted(537)?;
    guard.expect_attempts("addr:10.80.1.50", "direct", 10)?;
    let sources = guard.sources()?;
    for host in 1..=50 {
        let totals = totals(&sources, &format!("addr:10.80.1.{host}"), "direct");
        assert_eq!(totals.attempts, 10, "{host}");
    }
    guard.expect_attempts("addr:10.80.2.9", "submission", 7)?;
    guard.expect_attempts("addr:10.80.2.10", "direct", 3)?;
    guard.expect_attempts("addr:2001:db8:80:1::/64", "direct", 20)?;
    guard.expect_attempts("addr:2001:db8:80:2::/64", "direct", 10)?;
    guard.expect_sum(540)
}

#[test]
fn addresses_are_counted_apart_natively() -> Result<()> {
    addresses_are_counted_apart("native")
}

#[test]
fn addresses_are_counted_apart_generically() -> Result<()> {
    addresses_are_counted_apart("generic")
}

#[test]
fn what_enters_at_a_gateway_is_no_stray() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let guard = start(&lab, Config::observe(&lab), "native")?;
    guard.await_uplink(UPLINK)?;
    lan.client(&[A.0]).count(20).run()?.all_connected(20)?;
    guard.expect_attempts(A.1, "direct", 20)?;
    assert_eq!(guard.status()?.counted("strays"), 0);
    guard.expect_sum(20)
}

#[test]
fn evidence_names_the_address_and_the_gateway() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let guard = start(&lab, Config::observe(&lab), "native")?;
    // The first one is sent before anybody knows the address.
    lan.client(&[A.0])
        .to(&["198.18.0.7"])
        .run()?
        .all_connected(1)?;
    guard.await_registered(A.1)?;
    lan.client(&[A.0])
        .to(&["198.18.0.8"])
        .run()?
        .all_connected(1)?;
    guard.expect_attempts(A.1, "direct", 2)?;
    let detail = guard.show(A.1)?;
    assert_eq!(detail.identities, ["addr 10.80.1.1/32"]);
    let seen: Vec<_> = detail
        .events
        .iter()
        .map(|event| (event.hook.as_str(), event.dst.as_str(), event.dport))
        .collect();
    assert_eq!(
        seen,
        [("gateway", "198.18.0.8", 25), ("gateway", "198.18.0.7", 25)]
    );
    Ok(())
}

/// One tag and two, which nobody has a network for, so nobody answers.
fn tagged_frames_are_counted(mode: &str) -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let guard = start(&lab, Config::observe(&lab), mode)?;
    for (round, denied) in [(1, 0), (2, 20)] {
        for tags in ["7", "7,8"] {
            let way = format!(
                "--via frame --from {} --to 198.18.0.1 --tags {tags} plain",
                A.0
            );
            lan.forge(&way, 10, 0)?;
        }
        let totals = guard.expect_attempts(A.1, "direct", round * 20)?;
        assert_eq!(totals.denied, denied, "{totals:?}");
        guard.ok(&["block", A.1])?;
    }
    guard.expect_sum(40)
}

#[test]
fn tagged_frames_are_counted_natively() -> Result<()> {
    tagged_frames_are_counted("native")
}

#[test]
fn tagged_frames_are_counted_generically() -> Result<()> {
    tagged_frames_are_counted("generic")
}

#[test]
fn what_hides_is_dropped_in_enforce_mode() -> Result<()> {
    for (config, attempts) in [
        (Config::observe as fn(&Lab) -> Config, 20),
        (Config::enforce, 20),
    ] {
        let lab = Lab::new()?;
        let _sink = lab.sink()?;
        let lan = Lan::new(&lab, GATEWAY)?;
        let config = config(&lab);
        let enforces = config.to_string().contains("enforce");
        let guard = start(&lab, config, "native")?;
        // Whole SYNs in fragments of which the first shows port or nothing, and too long a chain.
        let answered = if enforces { 0 } else { 10 };
        let tiny = format!(
            "--via header --from {} --to 198.18.0.1 fragments --bytes 8 --part both",
            A.0
        );
        lan.forge(&tiny, 10, answered)?;
        let shown = format!(
            "--via header --from {} --to 198.18.0.1 fragments --bytes 24 --part both",
            A.0
        );
        lan.forge(&shown, 10, 10)?;
        let totals = guard.expect_attempts(A.1, "direct", attempts)?;
        assert_eq!(totals.denied, if enforces { 10 } else { 0 }, "{totals:?}");
        ensure!(guard.status()?.counted("packets_hiding_their_port") >= 10);
        guard.expect_sum(attempts)?;
    }
    Ok(())
}

#[test]
fn a_flood_by_one_address_disturbs_nobody_elses_count() -> Result<()> {
    const FLOOD: u64 = 20_000;
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let guard = start(&lab, Config::observe(&lab), "native")?;
    // Theirs are sent again while the flood goes on, and are not new for that.
    let blocked: Vec<String> = (1..=20)
        .map(|host| format!("addr:10.80.7.{host}"))
        .collect();
    for source in &blocked {
        guard.ok(&["block", source])?;
    }
    let waiting = lan.client(&["10.80.7.1-10.80.7.20"]).count(20);
    let waiting = waiting
        .concurrency(20)
        .timeout(ONE_RETRANSMISSION)
        .start()?;
    let flood = lan.start_forging(&format!(
        "--via header --from {} --to 198.18.0.1 --count {FLOOD} --at-once plain",
        A.0
    ))?;
    let busy = lan.client(&["10.80.8.1-10.80.8.100"]).count(1_000);
    busy.concurrency(2).run()?.all_connected(1_000)?;
    waiting.outcome()?.all_timed_out(20)?;
    flood.finish(PATIENCE)?.expect_code(0)?;
    guard.expect_attempts("addr:10.80.8.100", "direct", 10)?;
    let sources = guard.sources()?;
    let mut again = 0;
    for source in &blocked {
        let totals = totals(&sources, source, "direct");
        assert_eq!((totals.attempts, totals.denied), (1, 1), "{source}");
        again += totals.retransmits;
    }
    ensure!(again > 0, "no SYN was sent again");
    for host in 1..=100 {
        let totals = totals(&sources, &format!("addr:10.80.8.{host}"), "direct");
        assert_eq!(totals.attempts, 10, "{host}");
    }
    // A busy machine's link loses some of a flood before anybody sees it, an emulated one most.
    let flood = guard.totals(A.1, "direct")?.attempts;
    ensure!((FLOOD / 10..=FLOOD).contains(&flood), "{flood}");
    guard.expect_sum(flood + 1_020)?;
    // Nor does it take the place of their evidence.
    lan.client(&[B.0]).run()?.all_connected(1)?;
    guard.expect_attempts(B.1, "direct", 1)?;
    assert_eq!(guard.show(B.1)?.events.len(), 1);
    Ok(())
}
