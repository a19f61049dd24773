//! Tricks with cgroups and the set-user-id bit.

use std::{fs, net::SocketAddr, path::Path, process};

use anyhow::{Result, ensure};
use nix::{
    sys::stat::fstat,
    unistd::{Uid, geteuid, getuid, seteuid, setresuid},
};

use super::{socket::Tcp, tricks};

/// Moves this process into a cgroup.
fn enter(procs: &Path) -> Result<()> {
    let before = fs::read_to_string("/proc/self/cgroup")?;
    fs::write(procs, "0")?;
    let after = fs::read_to_string("/proc/self/cgroup")?;
    ensure!(before != after, "still in {before}");
    Ok(())
}

/// Makes a socket, moves, and connects.
pub(crate) fn moved(procs: &Path, to: SocketAddr) -> Result<()> {
    let socket = Tcp::plain(to)?;
    enter(procs)?;
    tricks::plain(&socket, to)
}

/// Makes cgroups one in the other and enters the last.
pub(crate) fn nest(depth: u32, below: &Path) -> Result<()> {
    let mut directory = below.to_owned();
    for level in 0..depth {
        directory.push(format!("{}-{level}", process::id()));
        fs::create_dir(&directory)?;
    }
    enter(&directory.join("cgroup.procs"))
}

/// The two uids of a program with the set-user-id bit: who runs it, who owns it.
fn two_uids() -> Result<(Uid, Uid)> {
    let (real, effective) = (getuid(), geteuid());
    ensure!(
        real != effective && !effective.is_root(),
        "this is to be run from a file with the set-user-id bit, by another than its owner: \
         uid {real}, effective uid {effective}"
    );
    Ok((real, effective))
}

/// A socket, and whose it is by its inode.
fn socket_of(owner: Uid, to: SocketAddr) -> Result<Tcp> {
    let socket = Tcp::plain(to)?;
    let uid = fstat(socket.fd())?.st_uid;
    ensure!(uid == owner.as_raw(), "the socket is uid {uid}'s");
    Ok(socket)
}

/// Connects with one's own real uid and the owner's effective and filesystem uids.
pub(crate) fn with_the_rights_of_another(to: SocketAddr) -> Result<()> {
    let (_, owner) = two_uids()?;
    tricks::plain(&socket_of(owner, to)?, to)
}

/// Makes sockets that belong to who runs this, and becomes the owner for good.
pub(crate) fn sockets_of_the_runner(to: &[SocketAddr]) -> Result<Vec<Tcp>> {
    let (runner, owner) = two_uids()?;
    seteuid(runner)?;
    let sockets = to.iter().map(|to| socket_of(runner, *to));
    let sockets = sockets.collect::<Result<_>>()?;
    setresuid(owner, owner, owner)?;
    Ok(sockets)
}
