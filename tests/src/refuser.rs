//! A mail server that wants nothing: it says one line to whoever connects, and hangs up.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
};

use anyhow::Result;

use crate::{listening::Listening, netns::Netns, wait::SOON};

/// It listens until it is dropped.
#[derive(Debug)]
pub struct Refuser(#[expect(dead_code, reason = "it is there to be dropped")] Listening);

impl Refuser {
    /// Listens on port 25 of all IPv4 and IPv6 addresses of a namespace.
    ///
    /// # Errors
    /// When the port is in use.
    pub fn start(netns: &Netns, line: &'static str) -> Result<Self> {
        let listener = netns.enter(|| Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, 25))?))?;
        let refuse = move |listener: &TcpListener| {
            while let Ok((mut connection, _)) = listener.accept() {
                // The client looks at what came of it.
                connection.write_all(format!("{line}\r\n").as_bytes()).ok();
            }
        };
        Ok(Self(Listening::start(listener, refuse)?))
    }
}

/// Connects from a namespace to port 25 of an address, and hears what is said there.
///
/// # Errors
/// When there is no connection, or nobody hangs up in time.
pub fn ask(netns: &Netns, to: &str) -> Result<String> {
    let to = SocketAddr::new(to.parse()?, 25);
    netns.enter(|| {
        let mut connection = TcpStream::connect_timeout(&to, SOON)?;
        connection.set_read_timeout(Some(SOON))?;
        let mut said = String::new();
        connection.read_to_string(&mut said)?;
        Ok(said)
    })
}
