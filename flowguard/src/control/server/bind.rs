//! Takes the place in the file system where clients look for the daemon.

use std::{
    fs, io,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
            net,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind as bind_socket, connect,
            getsockopt, listen, socket, sockopt::PeerCredentials,
        },
        stat::{Mode, fchmod},
    },
};
use tokio::net::UnixListener;

use super::access::find_group;

/// For root and the group.
const SHARED: u32 = 0o660;
/// For root alone.
const PRIVATE: u32 = 0o600;
/// Of the directory the socket is in.
const DIRECTORY: u32 = 0o755;

/// Why the control socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon has it.
    #[error(
        "another flowguard{} answers at {}: stop it first, or give this one its own `paths.control_socket`",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(),
        path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
        /// Its process; none: it had no time to answer.
        pid: Option<i32>,
    },
    /// Something that is no socket is in its place.
    #[error(
        "{} exists and is no socket: remove it, or set `paths.control_socket` to another path",
        path.display()
    )]
    NotASocket {
        /// What was found.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {what} the control socket {}", path.display())]
    System {
        /// Which step.
        what: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Listens at `path`: makes its directory if need be, takes over from a daemon that is gone, and
/// lets root and `group` connect, or only root if there is no such group.
///
/// # Errors
///
/// Another daemon answers at `path`, something else is there, or the system refuses.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn bind(path: &Path, group: Option<&str>) -> Result<UnixListener, BindError> {
    let failed = |what| {
        move |source: io::Error| BindError::System {
            what,
            path: path.to_owned(),
            source,
        }
    };
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY)
            .create(directory)
            .map_err(failed("make the directory of"))?;
    }
    make_way(path)?;
    let group = find_group(group).map_err(failed("find the group of"))?;
    let mode = if group.is_some() { SHARED } else { PRIVATE };
    let listener = listen_at(path, mode).map_err(failed("listen at"))?;
    // The mode was narrowed by the umask.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(failed("set the mode of"))?;
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group.as_raw()))
            .map_err(failed("set the group of"))?;
    }
    UnixListener::from_std(listener).map_err(failed("listen at"))
}

fn stream_socket() -> nix::Result<std::os::fd::OwnedFd> {
    socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        None,
    )
}

/// A socket takes the mode it has when it is bound (net/unix/af_unix.c, unix_bind_bsd), so there
/// is no moment at which others could connect.
fn listen_at(path: &Path, mode: u32) -> io::Result<net::UnixListener> {
    let socket = stream_socket()?;
    fchmod(&socket, Mode::from_bits_truncate(mode))?;
    bind_socket(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(net::UnixListener::from(socket))
}

/// Removes the socket of a daemon that is gone.
fn make_way(path: &Path) -> Result<(), BindError> {
    let failed = |what| {
        move |source: io::Error| BindError::System {
            what,
            path: path.to_owned(),
            source,
        }
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    let probe = || {
        let socket = stream_socket()?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        getsockopt(&socket, PeerCredentials)
    };
    match probe() {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path).map_err(failed("remove the remains of")),
        Ok(peer) => Err(BindError::InUse {
            path: path.to_owned(),
            pid: Some(peer.pid()),
        }),
        // Somebody listens, and has no time just now.
        Err(Errno::EAGAIN) => Err(BindError::InUse {
            path: path.to_owned(),
            pid: None,
        }),
        Err(error) => Err(failed("look at")(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[tokio::test]
    async fn the_socket_is_private_without_the_group() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run/flowguard/control.sock");
        let listener = bind(&path, Some("no-such-group-at-all")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        // The umask of whoever runs this may take more away.
        assert_eq!(mode(path.parent().unwrap()) & 0o022, 0);
        drop(listener);
    }

    #[tokio::test]
    async fn the_socket_belongs_to_the_group() {
        let own = nix::unistd::Group::from_gid(nix::unistd::Gid::effective())
            .unwrap()
            .unwrap();
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("control.sock");
        let _listener = bind(&path, Some(&own.name)).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!(found.mode() & 0o777, 0o660);
        assert_eq!(found.gid(), own.gid.as_raw());
    }

    #[tokio::test]
    async fn a_live_daemon_stays_and_a_dead_one_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("control.sock");
        let first = bind(&path, None).unwrap();
        assert!(matches!(bind(&path, None), Err(BindError::InUse { .. })));
        drop(first);
        bind(&path, None).unwrap();
    }

    #[tokio::test]
    async fn other_files_are_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("control.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            bind(&path, None),
            Err(BindError::NotASocket { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x".repeat(120));
        assert!(matches!(bind(&path, None), Err(BindError::System { .. })));
    }
}
