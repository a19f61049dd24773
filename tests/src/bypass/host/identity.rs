//! Tricks with user namespaces and with sockets of somebody else.

use std::{
    fs,
    io::{IoSlice, IoSliceMut, Read as _},
    net::SocketAddr,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream},
    },
};

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::wait::{SOON, until};
use nix::{
    cmsg_space,
    sched::{CloneFlags, unshare},
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
    unistd::{Uid, getuid, setresuid},
};

use super::{attempts::Attempts, socket::Tcp, tricks};

/// Enters a new user namespace where the own uid has another number, and all capabilities.
pub(crate) fn unshare_as(inside: Uid) -> Result<()> {
    let outside = getuid();
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/uid_map", format!("{inside} {outside} 1"))?;
    ensure!(getuid() == inside, "the uid is {} still", getuid());
    Ok(())
}

/// Enters a new user namespace, waits until somebody who may has mapped uids into it, and connects
/// as each of them. Its creator is uid 0 there.
pub(crate) fn as_each_subordinate(uids: u32, to: SocketAddr) -> Result<Attempts> {
    unshare(CloneFlags::CLONE_NEWUSER)?;
    until("uids in the new namespace", SOON, || {
        ensure!(getuid().is_root(), "the own uid is {}", getuid());
        Ok(())
    })?;
    let (root, mut attempts) = (Uid::from_raw(0), Attempts::default());
    for uid in (1..=uids).map(Uid::from_raw) {
        // The saved uid is the way back, and the way to all capabilities.
        setresuid(uid, uid, root)?;
        attempts.add(tricks::tcp(to))?;
        setresuid(root, root, root)?;
    }
    Ok(attempts)
}

fn address(name: &str) -> Result<UnixAddr> {
    Ok(UnixAddr::from_abstract_name(name)?)
}

/// Makes a socket and passes it to the first who asks; ends with the borrower.
pub(crate) fn lend(at: &str, to: SocketAddr) -> Result<Attempts> {
    let socket = Tcp::plain(to)?;
    let (mut borrower, _) = UnixListener::bind_addr(&address(at)?)?.accept()?;
    let descriptors = [socket.fd().as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let data = [IoSlice::new(b"!")];
    sendmsg::<()>(
        borrower.as_raw_fd(),
        &data,
        &rights,
        MsgFlags::empty(),
        None,
    )?;
    borrower.read_to_end(&mut Vec::new())?;
    Ok(Attempts::default())
}

/// A socket that somebody else made.
#[derive(Debug)]
pub(crate) struct Borrowed {
    socket: Tcp,
    // Its end is the lender's.
    _lender: UnixStream,
}

impl std::ops::Deref for Borrowed {
    type Target = Tcp;

    fn deref(&self) -> &Tcp {
        &self.socket
    }
}

/// Asks for a socket.
pub(crate) fn borrow(at: &str) -> Result<Borrowed> {
    let lender = until("a lender", SOON, || {
        Ok(UnixStream::connect_addr(&address(at)?)?)
    })?;
    let mut space = cmsg_space!(RawFd);
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(lender.as_raw_fd(), &mut data, Some(&mut space), flags)?;
    let descriptor = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    let descriptor = descriptor.context("the lender passed no descriptor")?;
    // SAFETY: the kernel has just made it for us.
    let socket = Tcp::passed(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(Borrowed {
        socket,
        _lender: lender,
    })
}
