//! Attempts that want the same place in a device's table at the same moment, on several CPUs.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use anyhow::{Result, anyhow};
use etherparse::PacketBuilder;
use flowguard_common::{
    addr,
    class::Class,
    counters::ClassCounters,
    flow::{flow_set, flow_tag},
    names::{PROG_EDGE, PROG_EDGE_ANSWERS, PROG_GATEWAY},
    source::{AddrKey, Edge, LINK_ETHERNET, ROLE_EDGE, prefix_key},
};
use flowguard_tests::{bench::Bench, feature};

/// Attempts that each of two CPUs makes.
const ROUNDS: u32 = 20_000;
/// The source that they are counted for.
const SOURCE: u32 = 7;
/// Who makes them: one prefix at a gateway.
const TENANTS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)];
const SHORTEST: u32 = 24;
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const PORT: u16 = 25;
const WINDOW: u16 = 1024;

#[test]
fn an_edge_loses_no_attempt_to_another_cpus() -> Result<()> {
    let counters = attempts(&[PROG_EDGE, PROG_EDGE_ANSWERS])?;
    assert_eq!(counters.established, u64::from(2 * ROUNDS), "{counters:?}");
    Ok(())
}

#[test]
fn a_gateway_loses_no_attempt_to_another_cpus() -> Result<()> {
    attempts(&[PROG_GATEWAY]).map(drop)
}

/// Two CPUs send SYNs at once, then both again; then the answers, if a program reads them.
fn attempts(programs: &[&str]) -> Result<ClassCounters> {
    feature::FETCHING_ATOMICS.require()?;
    let mut bench = Bench::load(programs)?;
    bench.configure(|settings| {
        settings.epoch_ns = u64::MAX;
        settings.answer_ns = u64::MAX;
        (settings.gateway_bits4, settings.gateway_bits6) = (SHORTEST, SHORTEST);
        settings.guarded[0] |= 1 << PORT;
    })?;
    bench.register(Edge {
        source: SOURCE,
        slot: 0,
        link: LINK_ETHERNET,
        role: ROLE_EDGE,
    })?;
    let (kind, id) = prefix_key(&addr::from_v4(TENANTS[0].octets()), SHORTEST, SHORTEST);
    bench.register_prefix(AddrKey { id, kind, pad: 0 }, SOURCE)?;

    let (opens, answers) = (programs[0], programs.get(1));
    let together = Together::default();
    thread::scope(|scope| {
        let (bench, together) = (&bench, &together);
        let cpus = TENANTS.map(|tenant| {
            let attempt = move |(seq, port)| {
                let syn = syn(tenant, port, seq)?;
                for _ in 0..2 {
                    together.wait();
                    bench.run(opens, &syn)?;
                }
                if let Some(answers) = answers {
                    bench.run(answers, &syn_ack(tenant, port, seq)?)?;
                }
                Ok(())
            };
            scope.spawn(move || -> Result<()> {
                let done = (1..=ROUNDS)
                    .zip(ports(tenant).cycle())
                    .try_for_each(attempt);
                together.leave();
                done
            })
        });
        let mut ended = cpus.into_iter().map(|cpu| cpu.join());
        ended.try_for_each(|ended| ended.map_err(|_| anyhow!("a CPU panicked"))?)
    })?;
    let counters = bench.counters(SOURCE, Class::Direct)?;
    assert_eq!(
        (counters.attempts, counters.retransmits),
        (u64::from(2 * ROUNDS), u64::from(2 * ROUNDS)),
        "{counters:?}"
    );
    Ok(counters)
}

/// Source ports whose attempts all have the first set of a device's table.
fn ports(tenant: Ipv4Addr) -> impl Iterator<Item = u16> + Clone {
    let (tenant, server) = (
        addr::from_v4(tenant.octets()),
        addr::from_v4(SERVER.octets()),
    );
    let fits = move |port: &u16| flow_set(0, flow_tag(&tenant, *port, &server, PORT)) == 0;
    (1024..=u16::MAX).filter(fits)
}

/// A frame of the tenant's with this sequence number.
fn syn(tenant: Ipv4Addr, port: u16, seq: u32) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(tenant.octets(), SERVER.octets(), 64)
        .tcp(port, PORT, seq, WINDOW)
        .syn()
        .write(&mut frame, &[])?;
    Ok(frame)
}

/// The answer to it.
fn syn_ack(tenant: Ipv4Addr, port: u16, seq: u32) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([4; 6], [2; 6])
        .ipv4(SERVER.octets(), tenant.octets(), 64)
        .tcp(PORT, port, 1, WINDOW)
        .syn()
        .ack(seq + 1)
        .write(&mut frame, &[])?;
    Ok(frame)
}

/// Lets two threads go on at the same moment, within less than a packet takes.
#[derive(Default)]
struct Together(AtomicU64);

impl Together {
    fn wait(&self) {
        let turn = self.0.fetch_add(1, Ordering::SeqCst) / 2;
        while self.0.load(Ordering::SeqCst) / 2 <= turn {
            thread::yield_now();
        }
    }

    /// Nobody waits for a thread that ended, even if it failed.
    fn leave(&self) {
        self.0.fetch_or(1 << 63, Ordering::SeqCst);
    }
}
