//! Takes every connection, closes it, and counts it by the address it came for. It may take a mail
//! before that.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    net::{IpAddr, Ipv6Addr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{self, Backlog};

use crate::{
    listening::Listening,
    netns::Netns,
    place::Place,
    process::run,
    smtp,
    wait::{SOON, until},
};

/// Connections by the address and port they came for; v4-mapped addresses appear as IPv4.
type Counts = Arc<Mutex<BTreeMap<(IpAddr, u16), u64>>>;

/// What is done with a connection before it is closed.
type Serve = fn(&TcpStream) -> io::Result<()>;

/// Listeners with a thread each, stopped when dropped.
#[derive(Debug)]
pub struct Sink {
    netns: Netns,
    counts: Counts,
    _listeners: Vec<Listening>,
}

impl Sink {
    /// Listens on these ports of all IPv4 and IPv6 addresses of a namespace.
    ///
    /// # Errors
    /// When a port is in use there.
    pub fn start(netns: &Netns, ports: &[u16]) -> Result<Self> {
        Self::with(netns, ports, drain)
    }

    /// The same, but it speaks SMTP and takes a mail over each, one connection after the other.
    ///
    /// # Errors
    /// When a port is in use there.
    pub fn of_mail(netns: &Netns, ports: &[u16]) -> Result<Self> {
        Self::with(netns, ports, |stream| {
            stream.set_read_timeout(Some(SOON))?;
            smtp::take(stream)
        })
    }

    fn with(netns: &Netns, ports: &[u16], serve: Serve) -> Result<Self> {
        // All may be there at once: whoever finds the queue full is connected, and yet never accepted.
        netns.sysctl("net/core/somaxconn", "65535")?;
        let bound = netns.enter(|| {
            // Dual-stack sockets: one listener a port serves both families.
            let bind = |port: &u16| listen(*port).with_context(|| format!("port {port}"));
            ports.iter().map(bind).collect::<Result<Vec<_>>>()
        })?;
        let counts = Counts::default();
        let start = |listener: TcpListener| {
            let counts = Arc::clone(&counts);
            Listening::start(listener, move |listener| accept(listener, &counts, serve))
        };
        let listeners = bound.into_iter().map(start).collect::<Result<_>>()?;
        Ok(Self {
            netns: netns.clone(),
            counts,
            _listeners: listeners,
        })
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.sum(|_, _| true)
    }

    /// Connections accepted so far on a port.
    pub fn accepted_on(&self, port: u16) -> u64 {
        self.sum(|_, of| of == port)
    }

    /// Connections accepted so far for an address, on whatever port.
    pub fn accepted_at(&self, address: &str) -> u64 {
        self.sum(|at, _| at.to_string() == address)
    }

    /// Addresses that connections came for.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut addresses: Vec<_> = counts.keys().map(|(address, _)| *address).collect();
        addresses.dedup();
        addresses
    }

    /// Waits until exactly so many connections have been accepted: a client may be done before
    /// the sink has looked at its last connection.
    ///
    /// # Errors
    /// When they are fewer or more.
    pub fn expect_accepted(&self, count: u64) -> Result<()> {
        until(&format!("{count} accepted connections"), SOON, || {
            let seen = self.accepted();
            ensure!(seen >= count, "{seen}");
            Ok(())
        })
        .with_context(|| format!("the kernel's own counters there: {:?}", self.counters()))?;
        let seen = self.accepted();
        ensure!(seen == count, "expected {count} connections, saw {seen}");
        Ok(())
    }

    /// What the kernel counted of TCP in the namespace, and of all packets in each CPU's queue: where
    /// those may be that are missing.
    fn counters(&self) -> Result<String> {
        let mut nstat = Place::default().netns(&self.netns).command("nstat")?;
        let of_tcp = run(nstat.arg("-as"), SOON)?.expect_code(0)?.stdout;
        let of_tcp = of_tcp.lines().filter(|line| line.starts_with("Tcp"));
        let of_tcp: Vec<_> = of_tcp.flat_map(str::split_whitespace).collect();
        let queues = fs::read_to_string("/proc/net/softnet_stat")?;
        Ok(format!("{}; {queues}", of_tcp.join(" ")))
    }

    fn sum(&self, wanted: impl Fn(IpAddr, u16) -> bool) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_interest = counts.iter().filter(|((ip, port), _)| wanted(*ip, *port));
        of_interest.map(|(_, count)| count).sum()
    }
}

fn listen(port: u16) -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    // A burst of thousands must not wait for retransmitted SYNs.
    socket::listen(&listener, Backlog::MAXALLOWABLE)?;
    Ok(listener)
}

fn accept(listener: &TcpListener, counts: &Counts, serve: Serve) {
    loop {
        match listener.accept().and_then(|(stream, _)| {
            // Whatever comes of it, it was a connection.
            serve(&stream).ok();
            stream.local_addr()
        }) {
            Ok(local) => {
                let key = (local.ip().to_canonical(), local.port());
                let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
                *counts.entry(key).or_default() += 1;
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(_) => return,
        }
    }
}

/// Reads what came with the SYN: who closes without having read everything sends a reset, which may
/// reach the client before it knows that it is connected.
fn drain(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.read(&mut [0; 1460]).map(drop)
}

/// Errors that say something about one connection and nothing about the listener.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
    )
}
