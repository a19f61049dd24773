//! The ways around the guard that any user of the host has, one a subcommand: makes connections,
//! closes them at once, and prints as JSON what became of them. It fails when it could connect
//! and the trick did not take place.

use std::{io, net::SocketAddr, net::SocketAddrV6, path::PathBuf};

use anyhow::Result;
use clap::{Parser, Subcommand};
use nix::unistd::Uid;

use crate::host::{
    attempts::Attempts, identity, ring::How, socket::Tcp, tricks, tricks::Protocol, who,
};

#[path = "../bypass/host/mod.rs"]
mod host;

/// Connects past the guard, or tries to.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    trick: Trick,
}

/// What is tried; always in turn with each destination.
#[derive(Subcommand)]
enum Trick {
    /// A socket of that protocol: `tcp` or `mptcp`.
    Plain {
        protocol: Protocol,
        to: Vec<SocketAddr>,
    },
    /// Twice each: `sendto(MSG_FASTOPEN)`, the second time with the data in the SYN.
    FastOpen { to: Vec<SocketAddr> },
    /// Twice each: `TCP_FASTOPEN_CONNECT`, the second time with the data in the SYN.
    FastOpenConnect { to: Vec<SocketAddr> },
    /// Through io_uring: `inline`, `worker` (another thread) or `poller` (a kernel thread).
    Ring { how: How, to: Vec<SocketAddr> },
    /// With twelve bytes of IP options.
    Nops { to: Vec<SocketAddr> },
    /// With an IPv6 routing header that sends the packets to another address first.
    Routed {
        first: std::net::Ipv6Addr,
        to: Vec<SocketAddrV6>,
    },
    /// One socket, dissolved by AF_UNSPEC and connected again, so many times.
    Again { times: u32, to: Vec<SocketAddr> },
    /// Gives up after so many retransmissions.
    Retransmitted {
        retransmissions: u32,
        to: SocketAddr,
    },
    /// In a user namespace where the own uid is called `inside`.
    Unshared {
        #[arg(value_parser = parse_uid)]
        inside: Uid,
        to: Vec<SocketAddr>,
    },
    /// In a user namespace that somebody else maps: once as each of the uids 1 to `uids` there.
    Subordinates { uids: u32, to: SocketAddr },
    /// Makes a socket and passes it to whoever asks at this abstract address.
    Lend { at: String, to: SocketAddr },
    /// Gets a socket from there and connects it.
    Borrow { at: String, to: SocketAddr },
    /// Makes a socket, moves to the cgroup whose `cgroup.procs` this is, and connects.
    Moved { procs: PathBuf, to: Vec<SocketAddr> },
    /// As a program with the set-user-id bit, run by somebody else.
    SetUserId { to: Vec<SocketAddr> },
    /// As a program with the set-user-id bit: makes a socket as the one who runs it, becomes its
    /// owner, and connects.
    Became { to: Vec<SocketAddr> },
    /// Makes so many cgroups one in the other below a directory, enters the last, and connects.
    Nested {
        depth: u32,
        below: PathBuf,
        to: Vec<SocketAddr>,
    },
}

fn main() -> Result<()> {
    let attempts = match Options::parse().trick {
        Trick::Plain { protocol, to } => each(&to, |to| {
            tricks::plain(&Tcp::open(to, protocol as i32)?, to)
        }),
        Trick::FastOpen { to } => each(&twice(&to), tricks::FastOpen::default().sender()),
        Trick::FastOpenConnect { to } => each(&twice(&to), tricks::FastOpen::default().connector()),
        Trick::Ring { how, to } => each(&to, |to| host::ring::connect(how, to)),
        Trick::Nops { to } => each(&to, tricks::with_options),
        Trick::Routed { first, to } => each(&to, |to| tricks::routed(first, to)),
        Trick::Again { times, to } => {
            let mut attempts = Attempts::default();
            for to in to {
                tricks::again(&mut attempts, times, to)?;
            }
            Ok(attempts)
        }
        Trick::Retransmitted {
            retransmissions,
            to,
        } => each(&[to], |to| tricks::retransmitted(retransmissions, to)),
        Trick::Unshared { inside, to } => {
            identity::unshare_as(inside)?;
            each(&to, tricks::tcp)
        }
        Trick::Subordinates { uids, to } => identity::as_each_subordinate(uids, to),
        Trick::Lend { at, to } => identity::lend(&at, to),
        Trick::Borrow { at, to } => {
            let socket = identity::borrow(&at)?;
            each(&[to], |to| tricks::plain(&socket, to))
        }
        Trick::Moved { procs, to } => each(&to, |to| who::moved(&procs, to)),
        Trick::SetUserId { to } => each(&to, who::with_the_rights_of_another),
        Trick::Became { to } => {
            let sockets = who::sockets_of_the_runner(&to)?;
            let mut attempts = Attempts::default();
            for (socket, to) in sockets.iter().zip(to) {
                attempts.add(tricks::plain(socket, to))?;
            }
            Ok(attempts)
        }
        Trick::Nested { depth, below, to } => {
            who::nest(depth, &below)?;
            each(&to, tricks::tcp)
        }
    }?;
    Ok(serde_json::to_writer(io::stdout(), attempts.outcome())?)
}

/// Tries each destination once.
fn each<T: Copy>(to: &[T], mut attempt: impl FnMut(T) -> Result<()>) -> Result<Attempts> {
    let mut attempts = Attempts::default();
    for to in to {
        attempts.add(attempt(*to))?;
    }
    Ok(attempts)
}

fn twice(to: &[SocketAddr]) -> Vec<SocketAddr> {
    to.iter().flat_map(|to| [*to, *to]).collect()
}

fn parse_uid(text: &str) -> Result<Uid> {
    Ok(Uid::from_raw(text.parse()?))
}
