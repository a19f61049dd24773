//! Many newcomers, one after the other: connects once as each of many uids, or as root of each of
//! many network namespaces, and prints as JSON what became of it. To be run by root.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use flowguard_tests::client::Outcome;
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    unistd::{Uid, setresuid},
};

/// Far above what a connection in a namespace takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connects as many newcomers in turn.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    crowd: Crowd,
}

/// Who they are.
#[derive(Subcommand)]
enum Crowd {
    /// Users from this uid on.
    Uids {
        /// The first.
        first: u32,
        /// How many.
        count: u32,
        /// Where to.
        to: SocketAddr,
    },
    /// Users in the order of a plan; instead of a sum, a letter for each of them: `c` for connected,
    /// `r` for refused, `o` for anything else.
    Plan {
        /// Lines of a uid and an address with its port.
        plan: PathBuf,
    },
    /// Root users of so many new network namespaces, from which nothing is reachable: an attempt is
    /// made, and fails.
    Namespaces {
        /// How many.
        count: u32,
        /// Where to.
        to: SocketAddr,
    },
}

fn main() -> Result<()> {
    let mut outcome = Outcome {
        pid: std::process::id(),
        ..Outcome::default()
    };
    match Options::parse().crowd {
        Crowd::Uids { first, count, to } => {
            for uid in (first..).take(count as usize) {
                become_user(uid)?;
                note(&mut outcome, to);
            }
        }
        Crowd::Plan { plan } => return by_plan(&plan),
        Crowd::Namespaces { count, to } => {
            for _ in 0..count {
                unshare(CloneFlags::CLONE_NEWNET)?;
                note(&mut outcome, to);
            }
        }
    }
    serde_json::to_writer(io::stdout(), &outcome)?;
    io::stdout().write_all(b"\n").context("cannot print")
}

/// The real uid is who one is; the others are the way to the next.
fn become_user(uid: u32) -> Result<()> {
    let root = Uid::from_raw(0);
    Ok(setresuid(Uid::from_raw(uid), root, root)?)
}

fn by_plan(plan: &Path) -> Result<()> {
    let mut letters = String::new();
    for line in fs::read_to_string(plan)?.lines() {
        let (uid, to) = line.split_once(' ').context("a uid and an address")?;
        become_user(uid.parse()?)?;
        let mut outcome = Outcome::default();
        note(&mut outcome, to.parse()?);
        letters.push(
            match (outcome.connected, outcome.refused, outcome.not_permitted) {
                (1, 0, 0) => 'c',
                (0, 1, 0) => 'r',
                (0, 0, 1) => 'n',
                _ => 'o',
            },
        );
    }
    letters.push('\n');
    io::stdout()
        .write_all(letters.as_bytes())
        .context("cannot print")
}

fn note(outcome: &mut Outcome, to: SocketAddr) {
    match TcpStream::connect_timeout(&to, PATIENCE) {
        Ok(_) => outcome.connected += 1,
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ECONNREFUSED) => outcome.refused += 1,
            Some(Errno::EPERM) => outcome.not_permitted += 1,
            _ => add(&mut outcome.other, error.to_string()),
        },
    }
}

fn add(counts: &mut BTreeMap<String, u64>, what: String) {
    *counts.entry(what).or_default() += 1;
}
