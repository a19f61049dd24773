//! Who answered.

use std::{
    net::IpAddr,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use etherparse::{IpNumber, Ipv4Slice, TcpSlice};
use nix::{
    sys::{
        socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt},
        time::{TimeVal, TimeValLike as _},
    },
    unistd::read,
};

use super::Sender;

/// Longer than any answer takes on a busy machine, seconds.
const PATIENCE_SECONDS: i64 = 15;

/// A SYN-ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The port of ours that it came to.
    pub sport: u16,
    /// The sequence number of the SYN it answers.
    pub seq: u32,
    /// The peer's own sequence number.
    pub peer_seq: u32,
}

/// Listens for SYN-ACKs with a raw socket, to which the kernel shows all TCP that it receives.
#[derive(Debug)]
pub struct Answers {
    raw: OwnedFd,
    six: bool,
}

impl Answers {
    /// Listens for answers of the family of `dst` from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn listen(dst: IpAddr) -> Result<Self> {
        let family = if dst.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let raw = socket(family, SockType::Raw, SockFlag::empty(), SockProtocol::Tcp)?;
        let patience = TimeVal::seconds(PATIENCE_SECONDS);
        setsockopt(&raw, sockopt::ReceiveTimeout, &patience)?;
        Ok(Self {
            raw,
            six: dst.is_ipv6(),
        })
    }

    /// Waits for the next one: on a tun device, where that is the sender's way.
    ///
    /// # Errors
    /// When none comes.
    pub fn next(&self, sender: &Sender) -> Result<Answer> {
        let (fd, six) = match sender.tun() {
            Some(fd) => (fd, false),
            None => (self.raw.as_fd(), self.six),
        };
        let mut buffer = [0; 2048];
        loop {
            let got = read(fd, &mut buffer).context("nobody answers")?;
            let packet = buffer.get(..got).context("more than fits")?;
            // Only IPv4 raw sockets and tun devices show the IP header.
            let segment = if six { Some(packet) } else { tcp_of(packet) };
            if let Some(answer) = segment.and_then(syn_ack) {
                return Ok(answer);
            }
        }
    }
}

fn tcp_of(packet: &[u8]) -> Option<&[u8]> {
    let packet = Ipv4Slice::from_slice(packet).ok()?;
    let payload = packet.payload();
    (payload.ip_number == IpNumber::TCP).then_some(payload.payload)
}

fn syn_ack(segment: &[u8]) -> Option<Answer> {
    let tcp = TcpSlice::from_slice(segment).ok()?;
    (tcp.syn() && tcp.ack()).then(|| Answer {
        sport: tcp.destination_port(),
        seq: tcp.acknowledgment_number().wrapping_sub(1),
        peer_seq: tcp.sequence_number(),
    })
}
