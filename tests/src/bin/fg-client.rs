//! Makes TCP connections, closes each at once, and prints as JSON what became of them.

use std::{
    io::{self, ErrorKind, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    num::NonZero,
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Parser;
use flowguard_tests::client::Outcome;
use nix::errno::Errno;
use socket2::{Domain, Socket, Type};

/// Makes TCP connections, closes each at once, and prints as JSON what became of them.
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
    let next = AtomicU64::new(0);
    let start = Instant::now();
    let worker = || {
        let mut results = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= options.count {
                return results;
            }
            if let Some(rate) = options.per_second {
                let due = Duration::from_secs_f64(n as f64 / f64::from(rate.get()));
                thread::sleep(due.saturating_sub(start.elapsed()));
            }
            let address = to[n as usize % to.len()];
            let from = (!from.is_empty()).then(|| from[n as usize % from.len()]);
            results.push(attempt(
                from,
                SocketAddr::new(address, options.port),
                Duration::from_millis(options.timeout_ms),
            ));
        }
    };
    let results = thread::scope(|scope| {
        let workers: Vec<_> = (0..options.concurrency)
            .map(|_| scope.spawn(worker))
            .collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .collect::<thread::Result<Vec<_>>>()
            .map_err(|_| anyhow!("a worker panicked"))
    })?;
    let outcome = summary(results.into_iter().flatten().collect());
    serde_json::to_writer(io::stdout(), &outcome)?;
    io::stdout().write_all(b"\n").context("cannot print")
}

fn attempt(
    from: Option<IpAddr>,
    to: SocketAddr,
    timeout: Duration,
) -> (Result<(), io::Error>, Duration) {
    let start = Instant::now();
    let result = match from {
        Some(from) => connect_from(from, to, timeout),
        None => TcpStream::connect_timeout(&to, timeout).map(drop),
    };
    (result, start.elapsed())
}

fn connect_from(from: IpAddr, to: SocketAddr, timeout: Duration) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&to.into(), timeout)
}

fn summary(results: Vec<(Result<(), io::Error>, Duration)>) -> Outcome {
    let mut outcome = Outcome {
        pid: process::id(),
        ..Outcome::default()
    };
    let mut times = Vec::new();
    for (result, time) in results {
        times.push(time.as_secs_f64() * 1e3);
        match result {
            Ok(()) => outcome.connected += 1,
            Err(error) if error.kind() == ErrorKind::TimedOut => outcome.timed_out += 1,
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ECONNREFUSED) => outcome.refused += 1,
                Some(Errno::EPERM) => outcome.not_permitted += 1,
                _ => *outcome.other.entry(error.to_string()).or_default() += 1,
            },
        }
    }
    times.sort_by(f64::total_cmp);
    outcome.median_ms = times.get(times.len() / 2).copied().unwrap_or_default();
    outcome.slowest_ms = times.last().copied().unwrap_or_default();
    outcome
}
