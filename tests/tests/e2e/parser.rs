//! The parser in the loaded program against the same parser on the host, on the same bytes.

use std::{collections::HashSet, net::Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use flowguard_common::{
    addr::Addr,
    class::Class,
    counters::Stat,
    event::{Event, Hook},
    names::{PROG_EDGE, PROG_GATEWAY, PROG_UPLINK},
    packet::{self, Kind, Packet, Segment},
    settings::{MODE_ENFORCE, MODE_OBSERVE, Settings},
    source::{AddrKey, Edge, LINK_ETHERNET, LINK_IP, ROLE_EDGE, ROLE_UPLINK, prefix_key},
    testing::frames,
    verdict::Decision,
};
use flowguard_tests::bench::{self, Bench};
use proptest::{
    strategy::{Strategy, ValueTree as _},
    test_runner::TestRunner,
};

/// Made-up frames of each kind, less those that the kernel does not take for a test run.
const FRAMES: usize = 4_000;
/// The source that the frames are counted for.
const SOURCE: u32 = 7;
/// Bits of the shortest prefix that a gateway tells apart.
const SHORTEST: u32 = 1;
/// include/uapi/linux/pkt_cls.h.
const TC_ACT_UNSPEC: i32 = -1;
const TC_ACT_SHOT: i32 = 2;
/// `enum xdp_action`, include/uapi/linux/bpf.h.
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
/// What is counted of packets that hide something, or that are not looked into.
const STATS: [Stat; 3] = [Stat::HiddenPort, Stat::Encapsulated, Stat::Unparsed];

/// A program that reads frames, and what it returns.
struct Door {
    program: &'static str,
    hook: Hook,
    pass: i32,
    deny: i32,
}

const EDGE: Door = Door {
    program: PROG_EDGE,
    hook: Hook::Edge,
    pass: TC_ACT_UNSPEC,
    deny: TC_ACT_SHOT,
};
const GATEWAY: Door = Door {
    program: PROG_GATEWAY,
    hook: Hook::Gateway,
    pass: XDP_PASS,
    deny: XDP_DROP,
};

#[test]
fn the_edge_reads_frames_as_the_host_does() -> Result<()> {
    reads_frames_as_the_host_does(&EDGE)
}

#[test]
fn the_gateway_reads_frames_as_the_host_does() -> Result<()> {
    reads_frames_as_the_host_does(&GATEWAY)
}

fn reads_frames_as_the_host_does(door: &Door) -> Result<()> {
    let mut bench = Bench::load(&[door.program])?;
    // At a gateway all addresses are one source's.
    for lowest in ["::ffff:0.0.0.0", "::ffff:128.0.0.0", "::", "8000::"] {
        let address: Ipv6Addr = lowest.parse()?;
        let (kind, id) = prefix_key(&address.octets(), SHORTEST, SHORTEST);
        bench.register_prefix(AddrKey { id, kind, pad: 0 }, SOURCE)?;
    }
    let mut seen = Seen::default();
    for mode in [MODE_OBSERVE, MODE_ENFORCE] {
        let settings = bench.configure(|settings| {
            settings.mode = mode;
            guard_ports(settings);
        })?;
        for link in [LINK_ETHERNET, LINK_IP] {
            bench.register(Edge {
                source: SOURCE,
                slot: 0,
                link,
                role: ROLE_EDGE,
            })?;
            for frame in frames(link)? {
                seen.compare(&mut bench, door, &frame, link, &settings)?;
            }
        }
    }
    // Neither side saw nothing.
    let Seen {
        stats, attempts, ..
    } = &seen;
    ensure!(stats.iter().all(|count| *count > 100), "{stats:?}");
    ensure!(attempts.iter().all(|count| *count > 50), "{attempts:?}");
    let mut bytes = 0;
    for class in Class::ALL {
        let counters = bench.counters(SOURCE, class)?;
        assert_eq!(counters.attempts, attempts[class as usize], "{class:?}");
        bytes += counters.bytes;
    }
    assert_eq!(bytes, seen.bytes);
    Ok(())
}

/// The frames of a test run come from no socket that anybody could be blamed for: a SYN to a guarded
/// port is a stray.
#[test]
fn the_uplink_reads_frames_as_the_host_does() -> Result<()> {
    let mut bench = Bench::load(&[PROG_UPLINK])?;
    let settings = bench.configure(|settings| {
        settings.mode = MODE_ENFORCE;
        guard_ports(settings);
    })?;
    let mut syns = HashSet::new();
    for link in [LINK_ETHERNET, LINK_IP] {
        bench.register(Edge {
            source: SOURCE,
            slot: 0,
            link,
            role: ROLE_UPLINK,
        })?;
        for frame in frames(link)? {
            let Packet { kind, segment } = packet::parse(&frame.as_slice(), link);
            let is_stray =
                kind == Kind::Tcp && segment.opens() && settings.is_guarded(segment.dport);
            if is_stray && !syns.insert(syn(&segment)) {
                continue;
            }
            let described = || format!("{kind:?} {segment:?} in {frame:02x?}, link {link}");
            let returned = bench.run(PROG_UPLINK, &frame).with_context(described)?;
            ensure!(returned == TC_ACT_UNSPEC, "{returned}: {}", described());
            let class = settings.class(&segment.dst, segment.dport, false) as u8;
            let expected = is_stray.then_some((
                segment.dst,
                segment.dport,
                class,
                Decision::Pass as u8,
                Hook::Uplink as u8,
            ));
            let events = bench.events()?;
            ensure!(
                events.iter().map(attempt_of).eq(expected),
                "{events:?}: {}",
                described()
            );
        }
    }
    ensure!(syns.len() > 100, "{}", syns.len());
    assert_eq!(bench.stat(Stat::Stray)?, syns.len() as u64);
    Ok(())
}

/// Guards the ports that are guarded by default, and tells addresses at gateways apart by their first bit.
fn guard_ports(settings: &mut Settings) {
    settings.epoch_ns = u64::MAX;
    (settings.gateway_bits4, settings.gateway_bits6) = (SHORTEST, SHORTEST);
    for (port, is_submission) in [(25, false), (465, true), (587, true), (2525, true)] {
        settings.guarded[port / 64] |= 1 << (port % 64);
        settings.submission[port / 64] |= u64::from(is_submission) << (port % 64);
    }
}

/// Recorded and made-up ones that the kernel takes for a test run.
fn frames(link: u32) -> Result<Vec<Vec<u8>>> {
    let (mut all, made_up) = if link == LINK_IP {
        (Vec::new(), frames::ip().boxed())
    } else {
        (frames::recorded()?, frames::ethernet().boxed())
    };
    let mut runner = TestRunner::default();
    for _ in 0..FRAMES {
        let frame = made_up.new_tree(&mut runner).map_err(anyhow::Error::msg)?;
        all.push(frame.current());
    }
    all.retain(|frame| bench::is_taken(frame));
    Ok(all)
}

/// Source and its port, destination and its port, sequence number.
type Syn = (Addr, u16, Addr, u16, u32);

fn syn(segment: &Segment) -> Syn {
    let Segment {
        src,
        sport,
        dst,
        dport,
        seq,
        ..
    } = *segment;
    (src, sport, dst, dport, seq)
}

/// What the host's parser found so far.
#[derive(Debug, Default)]
struct Seen {
    /// In the order of [`STATS`].
    stats: [u64; 3],
    /// By class.
    attempts: [u64; 3],
    /// Payload of what opens no connection.
    bytes: u64,
    /// What makes a SYN the same again.
    syns: HashSet<Syn>,
}

impl Seen {
    /// Gives a frame to both, and compares what they make of it.
    fn compare(
        &mut self,
        bench: &mut Bench,
        door: &Door,
        frame: &[u8],
        link: u32,
        settings: &Settings,
    ) -> Result<()> {
        let Packet { kind, segment } = packet::parse(&frame, link);
        let is_syn = match kind {
            Kind::Tcp => segment.opens(),
            Kind::HiddenFlags => true,
            _ => false,
        };
        let hides = matches!(kind, Kind::HiddenPort | Kind::HiddenFlags);
        let denied = hides && settings.mode == MODE_ENFORCE;
        let is_guarded = settings.is_guarded(segment.dport);
        let attempt = (is_syn && is_guarded).then_some(segment);
        if let Some(segment) = &attempt
            && !self.syns.insert(syn(segment))
        {
            return Ok(());
        }
        let described = || format!("{kind:?} {segment:?} in {frame:02x?}, link {link}");

        let returned = bench.run(door.program, frame).with_context(described)?;
        let wanted = if denied { door.deny } else { door.pass };
        ensure!(returned == wanted, "returned {returned}: {}", described());

        for (stat, count) in STATS.into_iter().zip(&mut self.stats) {
            *count += u64::from(match stat {
                Stat::HiddenPort => hides,
                Stat::Encapsulated => kind == Kind::Encapsulated,
                _ => kind == Kind::Unparsed,
            });
            let counted = bench.stat(stat)?;
            ensure!(counted == *count, "{stat:?} is {counted}: {}", described());
        }

        if kind == Kind::Tcp && !is_syn && is_guarded {
            self.bytes += u64::from(segment.bytes);
        }
        let class = |segment: &Segment| settings.class(&segment.dst, segment.dport, false);
        let decision = if denied {
            Decision::Deny
        } else {
            Decision::Pass
        };
        let expected = attempt.map(|segment| {
            let class = class(&segment);
            self.attempts[class as usize] += 1;
            (segment.dst, segment.dport, class as u8, decision as u8)
        });
        let events = bench.events()?;
        let raised = events.iter().map(attempt_of);
        ensure!(
            raised.eq(expected.map(|(dst, dport, class, decision)| (
                dst,
                dport,
                class,
                decision,
                door.hook as u8
            ))),
            "{events:?}: {}",
            described()
        );
        Ok(())
    }
}

/// What an event says of the frame.
fn attempt_of(event: &Event) -> (Addr, u16, u8, u8, u8) {
    (
        event.dst,
        event.dport,
        event.class,
        event.decision,
        event.hook,
    )
}
