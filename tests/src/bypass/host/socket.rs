//! TCP sockets with the system calls that the standard library does not have.

use std::{
    mem::{MaybeUninit, size_of, size_of_val},
    net::SocketAddr,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    libc::{self, c_int},
    sys::{
        socket::{SockaddrStorage, connect, setsockopt, sockopt::SendTimeout},
        time::TimeVal,
    },
};

/// Seconds after which a connection that hangs is given up.
const PATIENCE: i64 = 20;

/// A TCP socket.
#[derive(Debug)]
pub(crate) struct Tcp(OwnedFd);

impl Tcp {
    /// A socket for a destination, of TCP or MPTCP.
    pub(crate) fn open(to: SocketAddr, protocol: c_int) -> Result<Self, Errno> {
        let family = if to.is_ipv4() {
            libc::AF_INET
        } else {
            libc::AF_INET6
        };
        // SAFETY: numbers only; nobody else owns the new descriptor.
        let socket = unsafe {
            let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
            let fd = Errno::result(libc::socket(family, kind, protocol))?;
            OwnedFd::from_raw_fd(fd)
        };
        setsockopt(&socket, SendTimeout, &TimeVal::new(PATIENCE, 0))?;
        Ok(Self(socket))
    }

    /// A plain TCP socket for a destination.
    pub(crate) fn plain(to: SocketAddr) -> Result<Self, Errno> {
        Self::open(to, libc::IPPROTO_TCP)
    }

    /// A socket that was passed on.
    pub(crate) fn passed(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Connects.
    pub(crate) fn connect(&self, to: SocketAddr) -> Result<(), Errno> {
        connect(self.0.as_raw_fd(), &SockaddrStorage::from(to))
    }

    /// Dissolves the connection; the socket can be connected anew.
    pub(crate) fn dissolve(&self) -> Result<(), Errno> {
        // SAFETY: all zeros are a valid address, of the family AF_UNSPEC.
        let nowhere: libc::sockaddr = unsafe { MaybeUninit::zeroed().assume_init() };
        let length = size_of_val(&nowhere) as libc::socklen_t;
        // SAFETY: a live address and its length.
        Errno::result(unsafe { libc::connect(self.0.as_raw_fd(), &nowhere, length) })?;
        Ok(())
    }

    /// Sets a socket option.
    pub(crate) fn set(&self, level: c_int, name: c_int, value: &[u8]) -> Result<(), Errno> {
        let length = value.len() as libc::socklen_t;
        let fd = self.0.as_raw_fd();
        // SAFETY: a live buffer and its length.
        let set = unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), length) };
        Errno::result(set)?;
        Ok(())
    }

    /// Reads a socket option of bytes.
    pub(crate) fn get(&self, level: c_int, name: c_int) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0; 256];
        let mut length = value.len() as libc::socklen_t;
        let fd = self.0.as_raw_fd();
        // SAFETY: a live buffer and its length, which the kernel does not exceed.
        let got = unsafe {
            libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &raw mut length)
        };
        Errno::result(got)?;
        value.truncate(length as usize);
        Ok(value)
    }

    /// What TCP knows about the connection.
    pub(crate) fn info(&self) -> Result<libc::tcp_info, Errno> {
        // SAFETY: a structure of numbers.
        let mut info: libc::tcp_info = unsafe { MaybeUninit::zeroed().assume_init() };
        let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
        let (fd, level) = (self.0.as_raw_fd(), libc::IPPROTO_TCP);
        // SAFETY: a live structure and its length, which the kernel does not exceed.
        let got = unsafe {
            let info = (&raw mut info).cast();
            libc::getsockopt(fd, level, libc::TCP_INFO, info, &raw mut length)
        };
        Errno::result(got)?;
        Ok(info)
    }
}
