//! A connection that stays open, both of its ends in the test's hands: what still passes over it,
//! and what does not.

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    client,
    lab::Lab,
    netns::Netns,
    place::Place,
    process::Job,
    wait::{SOON, until},
};

/// Bytes that each side says in a turn.
const TURN: u64 = 10;

/// Listens on port 25 of everything in the world, and hands out what it accepts. What a test makes
/// besides, nobody answers.
#[derive(Debug)]
pub struct Servers(TcpListener);

impl Servers {
    /// Starts to listen.
    ///
    /// # Errors
    /// When the port is in use.
    pub fn start(world: &Netns) -> Result<Self> {
        let listener = world.enter(|| Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, 25))?))?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// The server's end of the connection from this port.
    fn accept(&self, port: u16) -> Result<TcpStream> {
        until("the session's connection", SOON, || {
            let (connection, from) = self.0.accept()?;
            ensure!(from.port() == port, "another one, from {from}");
            connection.set_nonblocking(true)?;
            Ok(connection)
        })
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Session<'lab> {
    lab: &'lab Lab,
    netns: Netns,
    port: u16,
    orders: UnixStream,
    answers: BufReader<UnixStream>,
    server: TcpStream,
    /// Bytes that the server heard, and that it should have, so far.
    heard: u64,
    said: u64,
    /// The same of the client, as it was said to it.
    answered: u64,
    _client: Job,
}

impl<'lab> Session<'lab> {
    /// Connects from a place, which is in the namespace `netns`, to port 25 of an address.
    ///
    /// # Errors
    /// When the connection does not come about.
    pub fn open(
        lab: &'lab Lab,
        servers: &Servers,
        (place, netns): (&Place, &Netns),
        to: &str,
    ) -> Result<Self> {
        static NUMBERS: AtomicU32 = AtomicU32::new(0);
        // Whose SYN is lost waits for seconds before it repeats anything else (RFC 6298).
        lab.await_ipv6()?;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let path = lab.dir().join(format!("talk-{number}.sock"));
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o777))?;
        listener.set_nonblocking(true)?;
        let program = client::publish(&client::built("fg-talk")?, lab.dir())?;
        let to = SocketAddr::new(to.parse()?, 25).to_string();
        let mut command = place.command(program)?;
        let mut client = Job::start(command.arg(&path).arg(to))?;
        let orders = client.ready("the client to ask for orders", SOON, || {
            Ok(listener.accept()?.0)
        })?;
        orders.set_nonblocking(false)?;
        orders.set_read_timeout(Some(SOON))?;
        let mut answers = BufReader::new(orders.try_clone()?);
        let port = read_line(&mut answers)
            .and_then(|line| Ok(line.parse()?))
            .with_context(|| format!("it did not connect: {:?}", client.stderr()))?;
        Ok(Self {
            lab,
            netns: netns.clone(),
            port,
            orders,
            answers,
            server: servers.accept(port)?,
            heard: 0,
            said: 0,
            answered: 0,
            _client: client,
        })
    }

    /// Each side says something, and both hear it, with all that was said before.
    ///
    /// # Errors
    /// When something does not arrive.
    pub fn goes_on(&mut self) -> Result<()> {
        self.talk()?;
        self.catches_up()
    }

    /// Both sides hear all that was said so far.
    ///
    /// # Errors
    /// When something does not arrive.
    pub fn catches_up(&mut self) -> Result<()> {
        until("both ends to hear all", SOON, || {
            let (server, client) = self.hear()?;
            let expected = (self.said, self.answered);
            ensure!((server, client) == expected, "{server} and {client}");
            Ok(())
        })
    }

    /// Both ends have to send again what they said, more than once.
    fn await_retransmissions(&self) -> Result<()> {
        for netns in [&self.netns, self.lab.world()] {
            until("what was said to be sent again, twice", SOON, || {
                let vain = self.vain(netns)?;
                ensure!(vain >= 2, "{vain}");
                Ok(())
            })?;
        }
        Ok(())
    }

    fn talk(&mut self) -> Result<()> {
        writeln!(self.orders, "say {TURN}")?;
        let line = read_line(&mut self.answers)?;
        ensure!(line == "said", "{line}");
        self.said += TURN;
        self.server.write_all(&[b'y'; TURN as usize])?;
        self.answered += TURN;
        Ok(())
    }

    /// Bytes that came to the server and to the client so far.
    fn hear(&mut self) -> Result<(u64, u64)> {
        let mut buffer = [0; 4096];
        loop {
            match self.server.read(&mut buffer) {
                Ok(0) => break,
                Ok(bytes) => self.heard += bytes as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        writeln!(self.orders, "heard")?;
        Ok((self.heard, read_line(&mut self.answers)?.parse()?))
    }

    /// Waits until the client's kernel has given the connection up.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn is_given_up(&mut self) -> Result<()> {
        self.talk()?;
        until("the connection to be given up", SOON, || {
            let row = self.row(&self.netns)?;
            ensure!(row.is_none(), "{row:?}");
            Ok(())
        })
    }

    /// How often the end that is in this namespace has sent in vain: what was lost on its way, and
    /// what was refused on its way out, which Linux takes for congestion and probes.
    fn vain(&self, netns: &Netns) -> Result<u64> {
        let row = self.row(netns)?.context("the connection is gone")?;
        let [Some(retransmits), Some(probes)] = [row.get(6), row.get(8)] else {
            bail!("the kernel's table has other columns: {row:?}");
        };
        Ok(u64::from_str_radix(retransmits, 16)? + probes.parse::<u64>()?)
    }

    /// What the kernel tells of the end that is in this namespace (proc_net_tcp.rst).
    fn row(&self, netns: &Netns) -> Result<Option<Vec<String>>> {
        let port = format!(":{:04X}", self.port);
        let tables = netns.enter(|| {
            let table = |name| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
            Ok(table("tcp")? + &table("tcp6")?)
        })?;
        Ok(tables
            .lines()
            .map(|row| {
                row.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .find(|row| row.iter().take(3).any(|end| end.ends_with(&port))))
    }
}

/// Each side of each connection says something and has to say it again, and nobody hears anything.
///
/// # Errors
/// When something arrives.
pub fn are_stopped(sessions: &mut [Session<'_>]) -> Result<()> {
    let mut before = Vec::new();
    for session in &mut *sessions {
        before.push(session.hear()?);
        session.talk()?;
    }
    for session in &*sessions {
        session.await_retransmissions()?;
    }
    for (session, before) in sessions.iter_mut().zip(before) {
        let after = session.hear()?;
        ensure!(
            before == after,
            "server and client heard {before:?} bytes before and {after:?} after"
        );
    }
    Ok(())
}

fn read_line(answers: &mut BufReader<UnixStream>) -> Result<String> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    ensure!(line.ends_with('\n'), "the client has gone");
    line.truncate(line.trim_end().len());
    Ok(line)
}
