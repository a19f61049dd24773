//! Verdicts, limits and ceilings on addresses.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv6Addr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    client::{IMPATIENT, ONE_RETRANSMISSION},
    config::{Config, FANOUT_RULE},
    lab::Lab,
    lan::Lan,
    report::Verdict,
    wait::SOON,
};

use super::{A, B, GATEWAY, await_gateway, start};

/// An address of IPv6, its prefix, and where it sends.
const SIX: (&str, &str, &str) = (
    "2001:db8:80:1::1",
    "addr:2001:db8:80:1::/64",
    "2001:db8:1::1",
);

fn a_blocked_address_is_dropped(mode: &str) -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let guard = start(&lab, Config::observe(&lab), mode)?;
    // By hand, in observe mode, and before anything was seen of them.
    guard.ok(&["block", A.1, "--for", "1h"])?;
    guard.ok(&["block", SIX.1])?;
    let (a, b) = (lan.client(&[A.0]), lan.client(&[B.0]));
    let six = lan.client(&[SIX.0]).to(&[SIX.2]);
    for client in [&a, &six] {
        let client = client.clone().timeout(ONE_RETRANSMISSION);
        client.run()?.all_timed_out(1)?;
    }
    b.clone().count(5).run()?.all_connected(5)?;
    for source in [A.1, SIX.1] {
        let totals = guard.expect_attempts(source, "direct", 1)?;
        assert_eq!((totals.denied, totals.retransmits), (1, 1), "{source}");
        guard.ok(&["unblock", source])?;
    }
    a.run()?.all_connected(1)?;
    six.run()?.all_connected(1)?;
    sink.expect_accepted(7)?;
    guard.expect_sum(9)
}

#[test]
fn a_blocked_address_is_dropped_natively() -> Result<()> {
    a_blocked_address_is_dropped("native")
}

#[test]
fn a_blocked_address_is_dropped_generically() -> Result<()> {
    a_blocked_address_is_dropped("generic")
}

#[test]
fn a_limited_address_gets_its_burst_and_no_more() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let guard = start(&lab, Config::observe(&lab), "native")?;
    guard.ok(&["block", A.1, "--limit", "1/1h", "--burst", "10"])?;
    let many = lan.client(&[A.0]).count(30).concurrency(30);
    let outcome = many.timeout(IMPATIENT).run()?;
    assert_eq!(
        (outcome.connected, outcome.timed_out),
        (10, 20),
        "{outcome:?}"
    );
    lan.client(&[B.0]).count(30).run()?.all_connected(30)?;
    let totals = guard.expect_attempts(A.1, "direct", 30)?;
    assert_eq!(totals.denied, 20);
    sink.expect_accepted(40)?;
    guard.expect_sum(60)
}

/// The ceiling of these tests.
const CEILING: &str = "[ceilings]\ndirect = { burst = 10, rate = 1, per = \"1h\" }\n";

#[test]
fn the_ceiling_holds_from_the_first_packet() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let mut guard = start(&lab, Config::enforce(&lab).extra(CEILING), "native")?;
    // Nobody registers anybody while the daemon is away.
    guard.kill()?;
    let many = lan.client(&[A.0]).concurrency(15).timeout(IMPATIENT);
    let outcome = many.clone().count(15).run()?;
    assert_eq!(
        (outcome.connected, outcome.timed_out),
        (10, 5),
        "{outcome:?}"
    );
    guard.restart()?;
    await_gateway(&guard, "native")?;
    guard.await_registered(A.1)?;
    // What was taken out of the bucket stays taken.
    many.count(5).run()?.all_timed_out(5)?;
    lan.client(&[B.0]).count(10).run()?.all_connected(10)?;
    let totals = guard.expect_attempts(A.1, "direct", 20)?;
    assert_eq!((totals.denied, totals.would_deny), (10, 0), "{totals:?}");
    // An `allow` lifts it.
    guard.ok(&["allow", A.1])?;
    lan.client(&[A.0]).count(5).run()?.all_connected(5)?;
    sink.expect_accepted(25)?;
    guard.expect_sum(35)
}

#[test]
fn in_observe_mode_a_ceiling_is_only_noted() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let guard = start(&lab, Config::observe(&lab).extra(CEILING), "native")?;
    lan.client(&[A.0]).count(25).run()?.all_connected(25)?;
    sink.expect_accepted(25)?;
    let totals = guard.expect_attempts(A.1, "direct", 25)?;
    assert_eq!((totals.denied, totals.would_deny), (0, 15), "{totals:?}");
    Ok(())
}

#[test]
fn a_rule_convicts_an_address_and_exempts_another() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let config = Config::enforce(&lab)
        .rules(FANOUT_RULE)
        .exempt("addr:10.80.1.2");
    let guard = start(&lab, config, "native")?;
    for (address, _) in [A, B] {
        let client = lan.client(&[address]).to(&["198.18.0.1-198.18.0.30"]);
        client.count(30).run()?.all_connected(30)?;
    }
    guard.await_verdict(A.1, Some("block"))?;
    let client = lan.client(&[A.0]).timeout(IMPATIENT);
    client.run()?.all_timed_out(1)?;
    lan.client(&[B.0]).run()?.all_connected(1)?;
    let sources = guard.sources()?;
    let other = sources.iter().find(|source| source.source == B.1);
    let other = other.context("the other address")?;
    assert_eq!(
        (other.exempt.as_deref(), other.verdict.as_deref()),
        (Some("mail-servers"), None)
    );
    guard.expect_sum(62)
}

/// Sends everything back.
fn echo(lab: &Lab) -> Result<()> {
    let listener = lab
        .world()
        .enter(|| Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, 25))?))?;
    // They end with the test's namespaces: its peers are gone then, and nobody else can connect.
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(())
}

fn echoes(stream: &mut TcpStream, within: Duration) -> Result<bool> {
    stream.set_read_timeout(Some(within))?;
    let mut buffer = [0; 5];
    match stream.read_exact(&mut buffer) {
        Ok(()) => {
            ensure!(&buffer == b"NOOP\n", "{buffer:?}");
            Ok(true)
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

#[test]
fn severed_connections_stop_and_others_go_on() -> Result<()> {
    let lab = Lab::new()?;
    echo(&lab)?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let guard = start(&lab, Config::observe(&lab), "native")?;
    let mut severed = lan.connect(A.0, "198.18.0.1")?;
    let mut other = lan.connect(B.0, "198.18.0.1")?;
    for stream in [&mut severed, &mut other] {
        stream.write_all(b"NOOP\n")?;
        ensure!(echoes(stream, SOON)?);
    }
    guard.await_registered(A.1)?;
    guard.ok(&["block", A.1, "--sever"])?;
    for stream in [&mut severed, &mut other] {
        stream.write_all(b"NOOP\n")?;
    }
    ensure!(echoes(&mut other, SOON)?);
    ensure!(
        !echoes(&mut severed, IMPATIENT)?,
        "a severed connection went on"
    );
    // TCP has not given up yet.
    guard.ok(&["unblock", A.1])?;
    ensure!(echoes(&mut severed, SOON)?);
    drop((severed, other));
    let totals = guard.expect_attempts(B.1, "direct", 1)?;
    assert_eq!((totals.bytes, totals.denied), (10, 0), "{totals:?}");
    guard.expect_attempts(A.1, "direct", 1)?;
    guard.expect_sum(2)
}

#[test]
fn a_verdict_on_an_address_comes_back_after_a_reboot() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let lan = Lan::new(&lab, GATEWAY)?;
    let mut guard = start(&lab, Config::observe(&lab), "native")?;
    guard.ok(&["block", A.1])?;
    guard.ok(&["block", SIX.1])?;
    let in_order = |mut verdicts: Vec<Verdict>| {
        verdicts.sort_by(|a, b| (&a.source, &a.class).cmp(&(&b.source, &b.class)));
        verdicts
    };
    let before = in_order(guard.verdicts()?);
    guard.terminate()?;
    lab.reboot()?;
    guard.restart()?;
    await_gateway(&guard, "native")?;
    assert!(!guard.status()?.adopted);
    assert_eq!(in_order(guard.verdicts()?), before);
    let six = lan.client(&[SIX.0]).to(&[SIX.2]);
    for client in [lan.client(&[A.0]), six] {
        client.timeout(IMPATIENT).run()?.all_timed_out(1)?;
    }
    lan.client(&[B.0]).run()?.all_connected(1)
}
