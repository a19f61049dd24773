//! Who sees what arrives in the world, whether or not its kernel makes anything of it.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::Result;
use flowguard_tests::netns::Netns;
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket},
};

/// All frames of a namespace since it was made.
#[derive(Debug)]
pub(super) struct Witness(OwnedFd);

impl Witness {
    /// Watches from now on.
    pub(super) fn of(netns: &Netns) -> Result<Self> {
        let open = || {
            Ok(socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_NONBLOCK,
                SockProtocol::EthAll,
            )?)
        };
        Ok(Self(netns.enter(open)?))
    }

    /// Takes all frames so far, and counts those of that kind.
    pub(super) fn count(&self, kind: impl Fn(&[u8]) -> bool) -> Result<u64> {
        let mut buffer = [0; 2048];
        let mut count = 0;
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(got) => count += u64::from(buffer.get(..got).is_some_and(&kind)),
                Err(Errno::EAGAIN) => return Ok(count),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
