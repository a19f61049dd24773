//! Follows network interfaces and addresses, over rtnetlink.
//!
//! One socket subscribes first and asks for what exists second, so there is no gap; when the
//! kernel had to drop messages (`ENOBUFS`) it asks again. The socket belongs to the network
//! namespace of the thread that opens it.

use std::{io, net::IpAddr};

use nix::{errno::Errno, ifaddrs::getifaddrs};
use rtnetlink::{
    MulticastGroup,
    sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};
use tokio::sync::mpsc;

pub use super::{
    link_messages::{Link, LinkKind},
    link_table::LinkEvent,
};
use super::{
    link_messages::{decode, link_request},
    link_table::{LinkTable, Query},
};

/// Twice what the kernel puts into one answer to a dump (`netlink_recvmsg` in
/// `net/netlink/af_netlink.c`).
const DATAGRAM: usize = 64 * 1024;

/// No query about a single interface has a dump's sequence number.
const NO_DUMP: u32 = 0;

/// Why network interfaces cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The socket failed.
    #[error(
        "cannot follow network interfaces, so new containers and VMs would not be guarded: netlink: {source}"
    )]
    Socket {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The kernel does not list its interfaces.
    #[error(
        "cannot follow network interfaces, so new containers and VMs would not be guarded: the kernel refuses to list them: {source}"
    )]
    Dump {
        /// The kernel's error.
        #[source]
        source: Errno,
    },
}

impl From<io::Error> for LinkError {
    fn from(source: io::Error) -> Self {
        Self::Socket { source }
    }
}

/// A watch on this network namespace's interfaces and addresses.
#[derive(Debug)]
pub struct LinkWatch {
    socket: Socket,
    table: LinkTable,
}

impl LinkWatch {
    /// Subscribes. What happens from here on is not missed. To be called in a tokio runtime.
    ///
    /// # Errors
    /// No socket is to be had.
    pub fn open() -> Result<Self, LinkError> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ];
        let mask = groups
            .iter()
            .fold(0, |mask, group| mask | 1 << (*group as u32 - 1));
        socket.socket_mut().bind(&SocketAddr::new(0, mask))?;
        let mut table = LinkTable::default();
        table.resync();
        Ok(Self {
            socket: Socket(socket),
            table,
        })
    }

    /// Reports what exists, then what changes, until nobody listens.
    ///
    /// # Errors
    /// The socket failed; changes would go unnoticed from here on.
    pub async fn run(mut self, events: mpsc::Sender<LinkEvent>) -> Result<(), LinkError> {
        let mut buffer = Vec::with_capacity(DATAGRAM);
        loop {
            for event in self.table.events.drain(..) {
                if events.send(event).await.is_err() {
                    return Ok(());
                }
            }
            for query in self.table.queries.drain(..) {
                self.socket.ask(query).await?;
            }
            tokio::select! {
                () = events.closed() => return Ok(()),
                received = self.socket.receive(&mut buffer) => match received? {
                    Received::Messages => self.take(&buffer)?,
                    Received::Lost => self.table.resync(),
                },
            }
        }
    }

    fn take(&mut self, datagram: &[u8]) -> Result<(), LinkError> {
        for message in decode(datagram) {
            self.table
                .apply(message)
                .map_err(|failed| LinkError::Dump {
                    source: Errno::from_raw(failed.errno),
                })?;
        }
        Ok(())
    }
}

enum Received {
    Messages,
    Lost,
}

struct Socket(TokioSocket);

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Socket").field(self.0.socket_ref()).finish()
    }
}

impl Socket {
    async fn ask(&self, query: Query) -> io::Result<()> {
        let request = match query {
            Query::Dump { sequence } => link_request(sequence, None),
            Query::Link { ifindex } => link_request(NO_DUMP, Some(ifindex)),
        };
        let kernel = SocketAddr::new(0, 0);
        self.0.send_to(&request, &kernel).await.map(drop)
    }

    async fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<Received> {
        loop {
            buffer.clear();
            match self.0.recv_from(buffer).await {
                // Port 0 is the kernel: another process may send to this socket as well.
                Ok(from) if from.port_number() == 0 => return Ok(Received::Messages),
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    tracing::warn!(
                        "too many changes of network interfaces at once; listing them anew"
                    );
                    return Ok(Received::Lost);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The addresses of this network namespace's interfaces, loopback's included, each once, sorted.
///
/// # Errors
/// The kernel does not list them.
pub fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = getifaddrs()?
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests;
