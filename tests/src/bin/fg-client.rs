//! Makes TCP connections, closes each at once or after a mail, and prints as JSON what became of them.
//! A SIGTERM makes it begin no more of them.

use std::{
    io::{self, ErrorKind, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    num::NonZero,
    process,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Parser;
use flowguard_tests::{client::Outcome, smtp};
use nix::{
    errno::Errno,
    sys::signal::{SigSet, Signal},
};
use socket2::{Domain, Socket, Type};

/// Makes TCP connections, closes each at once or after a mail, and prints as JSON what became of them.
#[derive(Parser)]
struct Options {
    /// Destinations, taken in turn: addresses, or ranges FIRST-LAST.
    #[arg(required = true, value_parser = parse_range)]
    to: Vec<Range>,
    /// Addresses to connect from, taken in turn: addresses, or ranges FIRST-LAST.
    #[arg(long, value_parser = parse_range)]
    from: Vec<Range>,
    /// Port to connect to.
    #[arg(long)]
    port: u16,
    /// Connections to make.
    #[arg(long)]
    count: u64,
    /// Connections to make at a time.
    #[arg(long)]
    concurrency: u64,
    /// Connections to begin a second, evenly; as fast as they go otherwise.
    #[arg(long)]
    per_second: Option<NonZero<u32>>,
    /// Ask of each connection whom it is connected to, and tell.
    #[arg(long)]
    ask_peers: bool,
    /// Hand a mail over each connection.
    #[arg(long)]
    mail: bool,
    /// When to give one up, milliseconds.
    #[arg(long)]
    timeout_ms: u64,
}

#[derive(Clone, Copy, Debug)]
enum Range {
    V4(u32, u32),
    V6(u128, u128),
}

impl Range {
    fn addresses(self) -> Box<dyn Iterator<Item = IpAddr>> {
        match self {
            Self::V4(first, last) => Box::new((first..=last).map(|a| Ipv4Addr::from(a).into())),
            Self::V6(first, last) => Box::new((first..=last).map(|a| Ipv6Addr::from(a).into())),
        }
    }
}

fn parse_range(text: &str) -> Result<Range> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse()?, last.parse()?) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Ok(Range::V4(first.into(), last.into())),
        (IpAddr::V6(first), IpAddr::V6(last)) => Ok(Range::V6(first.into(), last.into())),
        _ => bail!("{first} and {last} are of different families"),
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let to: Vec<IpAddr> = options.to.iter().flat_map(|r| r.addresses()).collect();
    let from: Vec<IpAddr> = options.from.iter().flat_map(|r| r.addresses()).collect();
    stop_at_sigterm()?;
    let next = AtomicU64::new(0);
    let start = Instant::now();
    let worker = || {
        let mut tally = Tally::default();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= options.count || STOP.load(Ordering::Relaxed) {
                return tally;
            }
            if let Some(rate) = options.per_second {
                let due = Duration::from_secs_f64(n as f64 / f64::from(rate.get()));
                thread::sleep(due.saturating_sub(start.elapsed()));
            }
            let address = to[n as usize % to.len()];
            let from = (!from.is_empty()).then(|| from[n as usize % from.len()]);
            tally.attempt(from, SocketAddr::new(address, options.port), &options);
        }
    };
    let tallies = thread::scope(|scope| {
        let workers: Vec<_> = (0..options.concurrency)
            .map(|_| scope.spawn(worker))
            .collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .collect::<thread::Result<Vec<_>>>()
            .map_err(|_| anyhow!("a worker panicked"))
    })?;
    let outcome = summary(tallies);
    serde_json::to_writer(io::stdout(), &outcome)?;
    io::stdout().write_all(b"\n").context("cannot print")
}

fn connect_from(from: IpAddr, to: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&to.into(), timeout)?;
    Ok(socket.into())
}

/// No more connections are to be begun.
static STOP: AtomicBool = AtomicBool::new(false);

fn stop_at_sigterm() -> Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    // Threads that are started from here on inherit this.
    signals.thread_block()?;
    thread::spawn(move || {
        if signals.wait().is_ok() {
            STOP.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// What became of some connections, and how long each took, in milliseconds.
#[derive(Default)]
struct Tally {
    outcome: Outcome,
    times: Vec<f32>,
}

impl Tally {
    fn attempt(&mut self, from: Option<IpAddr>, to: SocketAddr, options: &Options) {
        let start = Instant::now();
        let timeout = Duration::from_millis(options.timeout_ms);
        let result = match from {
            Some(from) => connect_from(from, to, timeout),
            None => TcpStream::connect_timeout(&to, timeout),
        };
        self.times.push(start.elapsed().as_secs_f32() * 1e3);
        let outcome = &mut self.outcome;
        // If it was asked for, whom it led to.
        let peer = result.and_then(|stream| {
            if options.mail {
                stream.set_read_timeout(Some(timeout))?;
                smtp::send(&stream)?;
            }
            let peer = options.ask_peers.then(|| stream.peer_addr());
            peer.transpose()
        });
        match peer {
            Ok(peer) => {
                outcome.connected += 1;
                if let Some(peer) = peer {
                    *outcome.peers.entry(peer.to_string()).or_default() += 1;
                }
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => outcome.timed_out += 1,
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ECONNREFUSED) => outcome.refused += 1,
                Some(Errno::EPERM) => outcome.not_permitted += 1,
                _ => *outcome.other.entry(error.to_string()).or_default() += 1,
            },
        }
    }
}

fn summary(tallies: Vec<Tally>) -> Outcome {
    let mut sum = Outcome {
        pid: process::id(),
        ..Outcome::default()
    };
    let mut times = Vec::new();
    for Tally { outcome, times: of } in tallies {
        sum.connected += outcome.connected;
        sum.refused += outcome.refused;
        sum.not_permitted += outcome.not_permitted;
        sum.timed_out += outcome.timed_out;
        for (error, count) in outcome.other {
            *sum.other.entry(error).or_default() += count;
        }
        for (peer, count) in outcome.peers {
            *sum.peers.entry(peer).or_default() += count;
        }
        times.extend(of);
    }
    times.sort_by(f32::total_cmp);
    let at = |index: usize| times.get(index).copied().unwrap_or_default().into();
    sum.median_ms = at(times.len() / 2);
    sum.slowest_ms = at(times.len().saturating_sub(1));
    sum
}
