//! Tricks with sockets.

use std::{
    collections::HashSet,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::{Result, ensure};
use clap::ValueEnum;
use flowguard_tests::wait::until;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    sys::socket::{MsgFlags, SockaddrStorage, send, sendto},
};

use super::{attempts::Attempts, socket::Tcp};

/// What a client of SMTP says first.
const GREETING: &[u8] = b"EHLO flowguard.test\r\n";
/// `TCPI_OPT_SYN_DATA` (linux/tcp.h): data in the SYN was acknowledged.
const SYN_DATA: u8 = 32;
/// `NOP` (RFC 791) as often as leaves the TCP header where no naive parser looks for it.
const NOPS: [u8; 12] = [1; 12];
/// Segment routing (RFC 8754).
const ROUTING_TYPE: u8 = 4;
/// The kernel's first two retransmissions of a SYN come after one and three seconds.
const RETRANSMISSION: Duration = Duration::from_secs(30);

/// A protocol number.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[repr(i32)]
pub(crate) enum Protocol {
    Tcp = libc::IPPROTO_TCP,
    Mptcp = libc::IPPROTO_MPTCP,
}

/// Connects a socket.
pub(crate) fn plain(socket: &Tcp, to: SocketAddr) -> Result<()> {
    Ok(socket.connect(to)?)
}

/// Connects a new socket.
pub(crate) fn tcp(to: SocketAddr) -> Result<()> {
    plain(&Tcp::plain(to)?, to)
}

/// Fast open, which needs a cookie from an earlier connection to put data into the SYN.
#[derive(Debug, Default)]
pub(crate) struct FastOpen {
    cookies: HashSet<SocketAddr>,
}

impl FastOpen {
    /// By `sendto`, without any `connect`.
    pub(crate) fn sender(mut self) -> impl FnMut(SocketAddr) -> Result<()> {
        move |to| {
            let socket = Tcp::plain(to)?;
            let (fd, address) = (socket.fd().as_raw_fd(), SockaddrStorage::from(to));
            let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
            sendto(fd, GREETING, &address, flags)?;
            self.check(&socket, to)
        }
    }

    /// By a `connect` that waits for the first data.
    pub(crate) fn connector(mut self) -> impl FnMut(SocketAddr) -> Result<()> {
        move |to| {
            let socket = Tcp::plain(to)?;
            let on = 1_i32.to_ne_bytes();
            socket.set(libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, &on)?;
            socket.connect(to)?;
            send(socket.fd().as_raw_fd(), GREETING, MsgFlags::MSG_NOSIGNAL)?;
            self.check(&socket, to)
        }
    }

    fn check(&mut self, socket: &Tcp, to: SocketAddr) -> Result<()> {
        if !self.cookies.insert(to) {
            until("the SYN's data to be acknowledged", RETRANSMISSION, || {
                let options = socket.info()?.tcpi_options;
                ensure!(options & SYN_DATA != 0, "TCP_INFO has options {options:#x}");
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Connects with an IP header longer than 20 bytes.
pub(crate) fn with_options(to: SocketAddr) -> Result<()> {
    let socket = Tcp::plain(to)?;
    socket.set(libc::IPPROTO_IP, libc::IP_OPTIONS, &NOPS)?;
    let kept = socket.get(libc::IPPROTO_IP, libc::IP_OPTIONS)?;
    ensure!(kept == NOPS, "the kernel took other options: {kept:?}");
    plain(&socket, to)
}

/// Connects with a routing header that names another address first.
pub(crate) fn routed(first: Ipv6Addr, to: SocketAddrV6) -> Result<()> {
    let socket = Tcp::plain(to.into())?;
    // Next header, length in 8 bytes beyond the first 8, type, segments left, last entry, flags,
    // tag; then the segments backwards, and the last one is filled in by the kernel.
    let mut header = vec![0, 4, ROUTING_TYPE, 1, 1, 0, 0, 0];
    header.extend([0; 16]);
    header.extend(first.octets());
    socket.set(libc::IPPROTO_IPV6, libc::IPV6_RTHDR, &header)?;
    let kept = socket.get(libc::IPPROTO_IPV6, libc::IPV6_RTHDR)?;
    ensure!(kept == header, "the kernel took another header: {kept:?}");
    plain(&socket, to.into())
}

/// Connects one socket again and again.
pub(crate) fn again(attempts: &mut Attempts, times: u32, to: SocketAddr) -> Result<()> {
    let socket = Tcp::plain(to)?;
    for _ in 0..times {
        attempts.add(plain(&socket, to))?;
        socket.dissolve()?;
    }
    Ok(())
}

/// Connects to where nobody answers and gives up after so many retransmissions.
pub(crate) fn retransmitted(retransmissions: u32, to: SocketAddr) -> Result<()> {
    let socket = Tcp::plain(to)?;
    fcntl(socket.fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let answer = socket.connect(to);
    ensure!(answer.is_err(), "somebody answered at once");
    if answer != Err(Errno::EINPROGRESS) {
        return Ok(answer?);
    }
    until("retransmitted SYNs", RETRANSMISSION, || {
        let info = socket.info()?;
        let (seen, state) = (info.tcpi_total_retrans, info.tcpi_state);
        ensure!(seen >= retransmissions, "{seen}, in state {state}");
        Ok(())
    })?;
    Err(Errno::ETIMEDOUT.into())
}
