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

/// First fragments of TCP in IPv4, and those at offset 1, which overwrite its flags (RFC 3128).
pub(super) fn is_tiny4(frame: &[u8]) -> bool {
    let field = frame.get(20..22);
    frame.get(12..14) == Some(&[8, 0])
        && frame.get(23) == Some(&6)
        && (field == Some(&[0x20, 0]) || field == Some(&[0, 1]))
}

/// First fragments in IPv6, of which more follow.
pub(super) fn is_first6(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd])
        && frame.get(20) == Some(&44)
        && frame.get(56..58) == Some(&[0, 1])
}

/// IP packets of this protocol.
pub(super) fn is_protocol(protocol: u8) -> impl Fn(&[u8]) -> bool {
    move |frame| match frame.get(12..14) {
        Some([8, 0]) => frame.get(23) == Some(&protocol),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&protocol),
        _ => false,
    }
}
