//! Holds one TCP connection open and talks over it as it is told, a line at a time, over a unix
//! socket: `say N` sends N bytes, `heard` asks how many came.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;

/// Holds one TCP connection open and talks over it as it is told.
#[derive(Parser)]
struct Options {
    /// Where orders come from.
    orders: PathBuf,
    /// Where to connect to.
    to: SocketAddr,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let orders = UnixStream::connect(&options.orders).context("nobody gives orders")?;
    let mut answers = orders.try_clone()?;
    let mut connection = TcpStream::connect(options.to)?;
    let heard = Arc::new(AtomicU64::new(0));
    let (mut listening, counter) = (connection.try_clone()?, Arc::clone(&heard));
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(bytes @ 1..) = listening.read(&mut buffer) {
            counter.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    });
    writeln!(answers, "{}", connection.local_addr()?.port())?;
    for line in BufReader::new(orders).lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("say", bytes)) => {
                connection.write_all(&vec![b'x'; bytes.parse()?])?;
                writeln!(answers, "said")?;
            }
            None if line == "heard" => writeln!(answers, "{}", heard.load(Ordering::Relaxed))?,
            _ => bail!("what is `{line}`?"),
        }
    }
    Ok(())
}
