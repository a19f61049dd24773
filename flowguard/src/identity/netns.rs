//! Network namespaces: what the kernel calls them.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::net::UnixDatagram},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use nix::{
    errno::Errno,
    getsockopt_impl, libc,
    sched::{CloneFlags, setns},
    sys::socket::{getsockopt, sockopt::GetStruct},
};
use rtnetlink::{
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        nsid::{NsidAttribute, NsidMessage},
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};

use super::link_messages::request;
use crate::kernel::NetnsProbe;

/// More than the kernel's answer to a question about a namespace, or its error, with the question.
const ANSWER: usize = 4096;

/// Why a network namespace remains unknown.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// `/proc` is not readable.
    #[error("cannot look up network namespaces in /proc: {source}; is it mounted?")]
    Proc {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The kernel does not tell which namespace is which.
    #[error("cannot ask the kernel about network namespaces: netlink: {source}")]
    Netlink {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The kernel does not tell a namespace's cookie.
    #[error("cannot learn a network namespace's cookie: {source}")]
    Cookie {
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// `SO_NETNS_COOKIE`.
#[derive(Clone, Copy, Debug)]
struct NetnsCookie;

getsockopt_impl!(
    NetnsCookie,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64,
    GetStruct<u64>
);

/// Tells the cookies of network namespaces, as `bpf_get_netns_cookie` reports them.
#[derive(Clone)]
enum Teller {
    /// `SO_NETNS_COOKIE` (`sock_getsockopt` in `net/core/sock.c`), Linux 5.14.
    Sockets,
    /// A program, which is told since Linux 5.7.
    Program(Arc<NetnsProbe>),
}

/// Who tells, once somebody was asked: a program takes long to load, and a new device's owner is
/// wanted at once.
static TELLER: Mutex<Option<Teller>> = Mutex::new(None);

impl Teller {
    /// None if nobody tells: guarding goes on without telling namespaces apart.
    fn get() -> Result<Option<Self>, NetnsError> {
        let mut known = TELLER.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = Self::new()?;
        }
        Ok(known.clone())
    }

    fn new() -> Result<Option<Self>, NetnsError> {
        if is_told_to_sockets()? {
            return Ok(Some(Self::Sockets));
        }
        match NetnsProbe::attach() {
            Ok(probe) => Ok(Some(Self::Program(Arc::new(probe)))),
            Err(error) => {
                tracing::warn!(%error, "network namespaces are not told apart");
                Ok(None)
            }
        }
    }

    /// The cookie of the calling thread's network namespace.
    fn own(&self) -> Result<Option<u64>, NetnsError> {
        match self {
            Self::Sockets => of_socket(),
            Self::Program(probe) => match probe.cookie() {
                Ok(cookie) => Ok(Some(cookie)),
                Err(error) => {
                    tracing::warn!(%error, "a network namespace is not told from others");
                    // This process may have been moved out of the cgroup where the program is.
                    *TELLER.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    Ok(None)
                }
            },
        }
    }
}

/// The cookie of the calling thread's network namespace; none where neither sockets (Linux 5.14)
/// nor programs (5.7) tell.
///
/// # Errors
/// No socket is to be had.
pub fn own_cookie() -> Result<Option<u64>, NetnsError> {
    Ok(match Teller::get()? {
        Some(teller) => teller.own()?,
        None => None,
    })
}

/// Whether the kernel tells it to sockets; otherwise programs are asked.
///
/// # Errors
/// No socket is to be had.
pub fn is_told_to_sockets() -> Result<bool, NetnsError> {
    Ok(of_socket()?.is_some())
}

fn of_socket() -> Result<Option<u64>, NetnsError> {
    let cookie =
        UnixDatagram::unbound().and_then(|socket| match getsockopt(&socket, NetnsCookie) {
            Ok(cookie) => Ok(Some(cookie)),
            Err(Errno::ENOPROTOOPT) => Ok(None),
            Err(error) => Err(error.into()),
        });
    cookie.map_err(|source| NetnsError::Cookie { source })
}

/// The cookies of namespaces, in their order.
///
/// A socket made inside tells, or its `connect()` does; so a thread that lives no longer than this call goes there, since
/// one of tokio's must never be found in somebody else's namespace.
pub(super) fn cookies(namespaces: &[&File]) -> Result<Vec<Option<u64>>, NetnsError> {
    if namespaces.is_empty() {
        return Ok(Vec::new());
    }
    let Some(teller) = Teller::get()? else {
        return Ok(vec![None; namespaces.len()]);
    };
    let visit = || {
        let visit_one = |namespace: &&File| {
            setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| NetnsError::Cookie {
                source: errno.into(),
            })?;
            teller.own()
        };
        namespaces.iter().map(visit_one).collect()
    };
    thread::scope(|scope| {
        let visitor = thread::Builder::new()
            .name("netns-visitor".to_owned())
            .spawn_scoped(scope, visit)
            .map_err(|source| NetnsError::Cookie { source })?;
        visitor.join().unwrap_or_else(|_| {
            Err(NetnsError::Cookie {
                source: io::Error::other("the thread that visits the namespaces ended early"),
            })
        })
    })
}

/// Asks by which number the calling thread's namespace calls another one.
#[derive(Debug)]
pub(super) struct NsidLookup(Socket);

impl NsidLookup {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// None if it has no number: no device here has its other end there. An error if the file is
    /// no network namespace.
    pub(super) fn nsid(&self, namespace: &File) -> io::Result<Option<i32>> {
        let fd = u32::try_from(namespace.as_raw_fd()).map_err(io::Error::other)?;
        let mut question = NsidMessage::default();
        question.attributes.push(NsidAttribute::Fd(fd));
        let question = request(1, 0, RouteNetlinkMessage::GetNsId(question));
        self.0.send(&question, 0)?;
        let mut answer = Vec::with_capacity(ANSWER);
        self.0.recv(&mut answer, 0)?;
        let answer = NetlinkMessage::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer)) => {
                Ok(number(&answer.attributes))
            }
            NetlinkPayload::Error(error) => Err(error.to_io()),
            other => Err(io::Error::other(format!("unexpected answer {other:?}"))),
        }
    }
}

/// `NETNSA_NSID_NOT_ASSIGNED` is -1.
fn number(attributes: &[NsidAttribute]) -> Option<i32> {
    attributes.iter().find_map(|attribute| match attribute {
        NsidAttribute::Id(id) if *id >= 0 => Some(*id),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::{TestLinks, TestNetns, on_a_host};

    #[test]
    fn a_cookie_is_read_without_going_there() {
        on_a_host(|| async {
            let (one, two) = (TestNetns::new(), TestNetns::new());
            let before = own_cookie().unwrap();
            let inside = [&one, &two].map(|netns| netns.run(|| own_cookie().unwrap()));
            assert!(inside[0].is_some());
            assert_ne!(inside[0], inside[1]);
            assert_eq!(cookies(&[one.file(), two.file()]).unwrap(), inside);
            assert_eq!(own_cookie().unwrap(), before);
            assert!(!inside.contains(&before));
        });
    }

    #[test]
    fn only_a_connected_namespace_has_a_number() {
        on_a_host(|| async {
            let (near, far) = (TestNetns::new(), TestNetns::new());
            let links = TestLinks::new();
            links.veth("host", "peer").await;
            links.give("peer", &near).await;
            let lookup = NsidLookup::open().unwrap();
            assert!(lookup.nsid(near.file()).unwrap().is_some());
            assert_eq!(lookup.nsid(far.file()).unwrap(), None);
        });
    }

    #[test]
    fn a_file_is_no_namespace() {
        let file = File::open("/proc/self/status").unwrap();
        assert!(NsidLookup::open().unwrap().nsid(&file).is_err());
        assert!(cookies(&[&file]).is_err());
    }
}
