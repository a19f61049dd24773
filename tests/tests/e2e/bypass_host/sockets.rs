//! Tricks with sockets and with what the packets look like.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    config::Config,
    feature,
    guard::Guard,
    lab::Lab,
    process::Job,
    report::Event,
    wait::{SOON, until},
};

use super::{MAPPED, V4, V6, attempt, holds, home, is_counted_and_refused, outcome, trick};
use crate::WWW;

/// Where nobody answers, in the world's network.
const SILENCE: &str = "198.18.255.1";

/// Waits for the events of a process, and returns them in the order of their hooks.
fn events_of(guard: &Guard<'_>, pid: u32, count: usize) -> Result<Vec<Event>> {
    until(&format!("{count} events of process {pid}"), SOON, || {
        let mut events = guard.events()?;
        events.retain(|event| event.pid() == Some(pid));
        ensure!(events.len() == count, "{events:?}");
        events.sort_by(|a, b| a.hook.cmp(&b.hook));
        Ok(events)
    })
}

#[test]
fn bypass_01_plain_connect() -> Result<()> {
    let lab = Lab::new()?;
    is_counted_and_refused(&lab, ("direct", 2), &["plain", "tcp", V4, V6])
}

#[test]
fn bypass_02_mptcp() -> Result<()> {
    feature::MPTCP.require()?;
    let lab = Lab::new()?;
    is_counted_and_refused(&lab, ("direct", 3), &["plain", "mptcp", V4, V6, MAPPED])
}

/// A world whose servers all take data in the SYN.
fn lab_with_fast_open() -> Result<Lab> {
    let lab = Lab::new()?;
    // Client and server, and the server without asking the listening program.
    lab.world().sysctl("net/ipv4/tcp_fastopen", "1027")?;
    Ok(lab)
}

#[test]
fn bypass_03_fast_open() -> Result<()> {
    let lab = lab_with_fast_open()?;
    is_counted_and_refused(&lab, ("direct", 6), &["fast-open", V4, V6, MAPPED])
}

#[test]
fn bypass_03_fast_open_connect() -> Result<()> {
    let lab = lab_with_fast_open()?;
    let args = ["fast-open-connect", V4, V6, MAPPED];
    is_counted_and_refused(&lab, ("direct", 6), &args)
}

#[test]
fn bypass_04_io_uring() -> Result<()> {
    for how in ["inline", "worker", "poller"] {
        let lab = Lab::new()?;
        let args = ["ring", how, V4, V6, MAPPED];
        is_counted_and_refused(&lab, ("direct", 3), &args).context(how)?;
    }
    Ok(())
}

#[test]
fn bypass_05_mapped_address() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let place = home(&lab, WWW.0)?;
    let tried = || attempt(trick(&lab, &place, &["plain", "tcp", V4, MAPPED])?);
    holds(&lab, &guard, (WWW.1, "direct", 2), tried)?;
    // One server, however its address is written, and one hook for each way.
    assert_eq!(guard.totals(WWW.1, "direct")?.destinations, 1);
    let refused = tried()?;
    refused.all_refused(2)?;
    let events = events_of(&guard, refused.pid, 2)?;
    for (event, hook) in events.iter().zip(["connect4", "connect6"]) {
        assert_eq!(
            (&*event.hook, &*event.dst, &*event.decision),
            (hook, "198.18.0.1", "deny")
        );
    }
    Ok(())
}

#[test]
fn bypass_05_mapped_address_of_a_trusted_network() -> Result<()> {
    let lab = Lab::new()?;
    let guard = Guard::start(&lab, &Config::observe(&lab).trusted("198.18.0.0/24"))?;
    let place = home(&lab, WWW.0)?;
    let tried = || attempt(trick(&lab, &place, &["plain", "tcp", V4, MAPPED])?);
    holds(&lab, &guard, (WWW.1, "relay", 2), tried)
}

#[test]
fn bypass_06_ip_options() -> Result<()> {
    let lab = Lab::new()?;
    is_counted_and_refused(&lab, ("direct", 2), &["nops", V4, "198.18.0.2:25"])
}

/// Sends www-data's connection to one address by way of another, of which one is trusted, and
/// checks that what it really goes to makes the class.
fn goes_by_the_true_destination(trusted: &str, class: &str) -> Result<()> {
    const FIRST: &str = "2001:db8:1::f";
    const TRUE: &str = "2001:db8:1::7";
    let lab = Lab::new()?;
    for interface in ["all", "world0"] {
        let switch = format!("net/ipv6/conf/{interface}/seg6_enabled");
        lab.world().sysctl(&switch, "1")?;
    }
    let sink = lab.sink()?;
    let guard = Guard::start(&lab, &Config::observe(&lab).trusted(trusted))?;
    let place = home(&lab, WWW.0)?;
    let to = format!("[{TRUE}]:25");
    let tried = || attempt(trick(&lab, &place, &["routed", FIRST, &to])?);
    let connected = tried()?;
    connected.all_connected(1)?;
    // The world took the packets on as the header says: it was the last segment that answered.
    sink.expect_accepted(1)?;
    assert_eq!(sink.addresses(), [TRUE.parse::<IpAddr>()?]);
    guard.expect_attempts(WWW.1, class, 1)?;
    let event = &events_of(&guard, connected.pid, 1)?[0];
    assert_eq!((&*event.dst, &*event.class), (TRUE, class));
    guard.ok(&["block", WWW.1, "--class", class])?;
    tried()?.all_refused(1)?;
    let blocked = guard.expect_attempts(WWW.1, class, 2)?;
    assert_eq!((blocked.denied, blocked.would_deny), (1, 0));
    guard.expect_sum(2)?;
    sink.expect_accepted(1)
}

#[test]
fn bypass_07_routing_header_by_way_of_a_trusted_host() -> Result<()> {
    goes_by_the_true_destination("2001:db8:1::f", "direct")
}

#[test]
fn bypass_07_routing_header_to_a_trusted_host() -> Result<()> {
    goes_by_the_true_destination("2001:db8:1::7", "relay")
}

#[test]
fn bypass_08_one_socket_again_and_again() -> Result<()> {
    let lab = Lab::new()?;
    is_counted_and_refused(&lab, ("direct", 8), &["again", "4", V4, V6])
}

/// A world where one address never answers.
fn lab_with_silence() -> Result<Lab> {
    let lab = Lab::new()?;
    let silence = format!("route add blackhole {SILENCE}/32 table local");
    lab.world().ip(&[silence])?;
    Ok(lab)
}

#[test]
fn bypass_09_retransmissions() -> Result<()> {
    let lab = lab_with_silence()?;
    let guard = Guard::start(&lab, &Config::observe(&lab))?;
    let place = home(&lab, WWW.0)?;
    let to = format!("{SILENCE}:25");
    let args = ["retransmitted", "2", &to];
    let job = Job::start(&mut trick(&lab, &place, &args)?)?;
    guard.expect_attempts(WWW.1, "direct", 1)?;
    // Blocked while its SYN is sent again, and again.
    guard.ok(&["block", WWW.1])?;
    outcome(job)?.all_timed_out(1)?;
    let totals = guard.expect_attempts(WWW.1, "direct", 1)?;
    assert_eq!((totals.denied, totals.would_deny), (0, 0));
    // Blocked from the start: refused at once, and nothing is left to be sent again.
    let start = Instant::now();
    attempt(trick(&lab, &place, &args)?)?.all_refused(1)?;
    let took = start.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let totals = guard.expect_attempts(WWW.1, "direct", 2)?;
    assert_eq!((totals.denied, totals.would_deny), (1, 0));
    guard.expect_sum(2)
}
