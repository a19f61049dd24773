//! The ways out of a network namespace that have no TCP socket.

use std::{
    fs::OpenOptions,
    net::{IpAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use nix::{
    errno::Errno,
    libc,
    net::if_::if_nametoindex,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn,
        SockaddrIn6, SockaddrLike, sendto, socket,
    },
    unistd::write,
};

/// `ETH_P_8021Q` and `ETH_P_8021AD`: the last tag of a frame, and those before it.
const TAGS: (u16, u16) = (0x8100, 0x88a8);
/// Source address of made frames.
const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// How long there may be no room for a packet.
const NO_ROOM: Duration = Duration::from_secs(30);

/// A way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// A raw socket of protocol TCP: the kernel writes the IP header.
    Tcp,
    /// A raw socket with the IP header included.
    Header,
    /// A packet socket with the Ethernet header included.
    Frame,
    /// A packet socket: the kernel writes the Ethernet header.
    Datagram,
    /// A tun device, whose packets the namespace forwards.
    Tun,
}

/// Sends IP packets out one way.
#[derive(Debug)]
pub struct Sender {
    via: Via,
    fd: OwnedFd,
    device: u32,
    mac: [u8; 6],
    six: bool,
}

impl Sender {
    /// Opens the way for packets of the family of `dst`. `mac` is who takes frames on `device`;
    /// as a tun device, `device` must be there already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(via: Via, dst: IpAddr, device: &str, mac: [u8; 6]) -> Result<Self> {
        let family = if dst.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let open = |family, kind, protocol| socket(family, kind, SockFlag::empty(), protocol);
        let fd = match via {
            Via::Tcp => open(family, SockType::Raw, SockProtocol::Tcp)?,
            // raw(7), and net/ipv6/raw.c the same: this protocol includes the header.
            Via::Header => open(family, SockType::Raw, SockProtocol::Raw)?,
            Via::Frame => {
                let fd = open(AddressFamily::Packet, SockType::Raw, SockProtocol::EthAll)?;
                bypass_queues(&fd)?;
                fd
            }
            Via::Datagram => open(
                AddressFamily::Packet,
                SockType::Datagram,
                SockProtocol::EthAll,
            )?,
            Via::Tun => tun(device)?,
        };
        Ok(Self {
            via,
            fd,
            device: if_nametoindex(device)?,
            mac,
            six: dst.is_ipv6(),
        })
    }

    /// Sends one IP packet. `tags` are VLAN ids, the outermost first, for frames only; `towards`
    /// is what the kernel is told, whatever the packet says, where it asks.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn send(&self, packet: &[u8], towards: IpAddr, tags: &[u16]) -> Result<()> {
        let fd = self.fd.as_raw_fd();
        match self.via {
            Via::Tcp => {
                let header = if self.six { 40 } else { 20 };
                let segment = packet.get(header..).context("no IP packet")?;
                send_to_ip(fd, segment, towards)
            }
            Via::Header => send_to_ip(fd, packet, towards),
            Via::Frame => {
                let mut frame = [self.mac, OWN_MAC].concat();
                for (index, tag) in tags.iter().enumerate() {
                    let last = index + 1 == tags.len();
                    frame.extend(if last { TAGS.0 } else { TAGS.1 }.to_be_bytes());
                    frame.extend(tag.to_be_bytes());
                }
                frame.extend(self.ethertype().to_be_bytes());
                frame.extend(packet);
                let link = self.link()?;
                sent(|| sendto(fd, &frame, &link, MsgFlags::empty()))
            }
            Via::Datagram => {
                let link = self.link()?;
                sent(|| sendto(fd, packet, &link, MsgFlags::empty()))
            }
            Via::Tun => sent(|| write(&self.fd, packet)),
        }
    }

    /// Where a tun device's packets come out.
    pub fn tun(&self) -> Option<BorrowedFd<'_>> {
        (self.via == Via::Tun).then(|| self.fd.as_fd())
    }

    fn ethertype(&self) -> u16 {
        let ethertype = if self.six {
            libc::ETH_P_IPV6
        } else {
            libc::ETH_P_IP
        };
        ethertype as u16
    }

    fn link(&self) -> Result<LinkAddr> {
        let mut sll_addr = [0; 8];
        for (to, from) in sll_addr.iter_mut().zip(self.mac) {
            *to = from;
        }
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: self.ethertype().to_be(),
            sll_ifindex: self.device.cast_signed(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr,
        };
        let size = size_of_val(&address) as libc::socklen_t;
        // SAFETY: a whole sockaddr_ll, of the family it says and of this size, which is copied.
        let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(size)) };
        address.context("the kernel's own kind of address")
    }
}

fn send_to_ip(fd: RawFd, bytes: &[u8], towards: IpAddr) -> Result<()> {
    match towards {
        IpAddr::V4(ip) => {
            let address = SockaddrIn::from(SocketAddrV4::new(ip, 0));
            sent(|| sendto(fd, bytes, &address, MsgFlags::empty()))
        }
        IpAddr::V6(ip) => {
            let address = SockaddrIn6::from(SocketAddrV6::new(ip, 0, 0, 0));
            sent(|| sendto(fd, bytes, &address, MsgFlags::empty()))
        }
    }
}

/// Sends, and again where the other end of the device has no room at the moment, as on a machine that
/// is slow to take packets.
fn sent(send: impl Fn() -> nix::Result<usize>) -> Result<()> {
    let deadline = Instant::now() + NO_ROOM;
    loop {
        match send() {
            Err(Errno::ENOBUFS) if Instant::now() < deadline => thread::yield_now(),
            result => return result.map(drop).context("a packet cannot be sent"),
        }
    }
}

/// Frames go straight to the device (packet(7)), past the sender's own queues and filters, and
/// whether it took them is known: a device that has just come up has, for a moment, a queue that
/// says yes and keeps nothing (`noop_enqueue` in net/sched/sch_generic.c).
fn bypass_queues(fd: &OwnedFd) -> Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the option is an int, of which this is the address and the size.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw const yes).cast(),
            size_of_val(&yes) as libc::socklen_t,
        )
    };
    Errno::result(done).map(drop).context("PACKET_QDISC_BYPASS")
}

/// The program's end of a tun device.
fn tun(name: &str) -> Result<OwnedFd> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .context("/dev/net/tun")?;
    // SAFETY: all bytes zero is a request without a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request is of the kind that this call reads and writes.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    Errno::result(done).with_context(|| format!("tun device {name}"))?;
    Ok(file.into())
}
