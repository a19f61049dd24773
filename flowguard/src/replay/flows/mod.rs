//! Connections out of logs: Zeek's `conn.log` and a CSV of our own (`docs/history.md`).
//!
//! A log is read once, line by line, and never held in memory as a whole. Its lines need not be in
//! order: Zeek writes a connection when it ends. What stands less than an hour behind later ones is
//! put in its place.

mod csv;
mod field;
mod order;
mod table;
mod zeek;

use std::{io, net::IpAddr};

use flowguard_common::{addr, class::Class};
use ipnet::IpNet;
use jiff::Timestamp;

use self::order::{Event, Queue};
use super::trial::Trial;
use crate::{
    config::Config,
    control::api::{Skipped, SkippedLine, Stretch},
    model::ClassName,
};

pub use self::table::Contacts;

/// Broken and late lines that are told one by one.
const TOLD: usize = 10;

/// How the lines of a log are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Zeek's `conn.log`, with tabs or as JSON
    Zeek,
    /// `ts,src,dst,dport,state,bytes_out,bytes_in,duration`, with such a first line
    Csv,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The log does not say.
    Unknown,
    /// The server accepted it.
    Established,
    /// The server refused it with a reset.
    Refused,
    /// The server did not answer.
    Unanswered,
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Flow {
    /// Its beginning, milliseconds since 1970.
    pub(crate) at: i64,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) dport: u16,
    pub(crate) end: End,
    /// Payload that the source sent; none: the log does not say.
    pub(crate) bytes: Option<u64>,
    /// How long it was open, milliseconds; none: the log does not say.
    pub(crate) duration: Option<i64>,
    /// Whether the source is one of the site's own; none: the log does not say.
    pub(crate) is_local: Option<bool>,
}

/// What a line of a log is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    Flow(Flow),
    /// A connection whose beginning was not seen, or not one of TCP.
    NoAttempt,
    /// Not what it should be.
    Broken(String),
}

/// Why a log is of no use.
#[derive(Debug, thiserror::Error)]
pub enum FlowsError {
    /// It cannot be read.
    #[error("the log cannot be read")]
    Read(#[from] io::Error),
    /// Its head does not tell what its columns are.
    #[error("the log has no column `{column}`: {hint}")]
    Columns {
        /// The column.
        column: &'static str,
        /// What the head should be.
        hint: &'static str,
    },
    /// There is no connection in it.
    #[error(
        "there is nothing to try a policy on: of {lines} lines none is a connection to a guarded \
         port{}",
        first.as_ref().map_or_else(String::new, |first| {
            format!(" (line {}: {})", first.line, crate::model::escape(&first.why))
        })
    )]
    Nothing {
        /// Lines there are.
        lines: u64,
        /// The first broken one.
        first: Option<SkippedLine>,
    },
}

/// Tries all of them over the connections of a log; of these sources only, unless there are none.
/// What it was that they were tried over, and what of it was not used.
///
/// # Errors
///
/// The log cannot be read, or nothing in it can be used.
pub fn over_flows(
    log: impl io::BufRead,
    format: Format,
    tenants: &[IpNet],
    trials: &mut [Trial<'_>],
) -> Result<(Vec<Stretch>, Skipped), FlowsError> {
    let unanswered = trials.first().map_or(0, |trial| {
        let after = trial.config().kernel.unanswered_after;
        i64::try_from(after.as_millis()).unwrap_or(i64::MAX)
    });
    let mut run = Run {
        contacts: trials.iter().map(|_| Contacts::default()).collect(),
        trials,
        tenants,
        queue: Queue::new(unanswered),
        skipped: Skipped::default(),
        lines: 0,
        span: None,
        second: i64::MIN,
    };
    let mut take = |line: u64, read: Line| run.take(line, read);
    match format {
        Format::Zeek => zeek::read(log, &mut take)?,
        Format::Csv => csv::read(log, &mut take)?,
    }
    run.finish()
}

/// The class of a connection, if somebody guards its port.
fn class_of(config: &Config, flow: &Flow) -> Option<ClassName> {
    let guard = &config.guard;
    let class = if guard.direct_ports.contains(&flow.dport) {
        Class::Direct
    } else if guard.submission_ports.contains(&flow.dport) {
        Class::Submission
    } else {
        return None;
    };
    let is_smarthost = guard.smarthosts.iter().any(|host| host.ip() == flow.dst);
    let is_trusted = flow.dst.is_loopback()
        || is_smarthost
        || guard.trusted.iter().any(|net| net.contains(&flow.dst));
    Some(if is_trusted { Class::Relay } else { class }.into())
}

/// An address as the kernel writes it.
fn kernel_addr(address: IpAddr) -> addr::Addr {
    match address.to_canonical() {
        IpAddr::V4(v4) => addr::from_v4(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

struct Run<'r, 'c> {
    trials: &'r mut [Trial<'c>],
    contacts: Vec<Contacts>,
    tenants: &'r [IpNet],
    queue: Queue,
    skipped: Skipped,
    lines: u64,
    /// From the first to the last connection, milliseconds since 1970.
    span: Option<(i64, i64)>,
    /// Of the events that were handed out last.
    second: i64,
}

impl Run<'_, '_> {
    fn take(&mut self, line: u64, read: Line) {
        self.lines = self.lines.max(line);
        match read {
            Line::Flow(flow) => self.take_flow(line, flow),
            Line::NoAttempt => self.skipped.no_attempt += 1,
            Line::Broken(why) => {
                self.skipped.broken += 1;
                if self.skipped.broken_lines.len() < TOLD {
                    let why = why.chars().take(200).collect();
                    self.skipped.broken_lines.push(SkippedLine { line, why });
                }
            }
        }
    }

    fn take_flow(&mut self, line: u64, flow: Flow) {
        let is_guarded = |trial: &Trial<'_>| class_of(trial.config(), &flow).is_some();
        if !self.trials.iter().any(is_guarded) {
            self.skipped.other_ports += 1;
            return;
        }
        let is_tenant = if self.tenants.is_empty() {
            flow.is_local != Some(false)
        } else {
            self.tenants.iter().any(|net| net.contains(&flow.src))
        };
        if !is_tenant {
            self.skipped.foreign += 1;
            return;
        }
        if !self.queue.push(flow) {
            self.skipped.late += 1;
            if self.skipped.late_lines.len() < TOLD {
                self.skipped.late_lines.push(line);
            }
            return;
        }
        let (first, last) = self.span.unwrap_or((flow.at, flow.at));
        self.span = Some((first.min(flow.at), last.max(flow.at)));
        while let Some((at, event)) = self.queue.pop_settled() {
            self.happens(at, &event);
        }
    }

    fn happens(&mut self, at: i64, event: &Event) {
        let second = at.div_euclid(1_000);
        if second != self.second {
            self.tick(self.second.saturating_add(1));
            for trial in &mut *self.trials {
                trial.begin(second);
            }
            self.second = second;
        }
        for (trial, contacts) in self.trials.iter_mut().zip(&mut self.contacts) {
            table::note(trial, contacts, second, event);
        }
    }

    fn tick(&mut self, at: i64) {
        for trial in &mut *self.trials {
            trial.tick(at);
        }
    }

    fn finish(mut self) -> Result<(Vec<Stretch>, Skipped), FlowsError> {
        while let Some((at, event)) = self.queue.pop() {
            self.happens(at, &event);
        }
        self.tick(self.second.saturating_add(1));
        let Some((first, last)) = self.span else {
            return Err(FlowsError::Nothing {
                lines: self.lines,
                first: self.skipped.broken_lines.into_iter().next(),
            });
        };
        let time = |at| Timestamp::from_millisecond(at).unwrap_or(Timestamp::MAX);
        let stretch = Stretch {
            since: time(first),
            until: time(last),
            resolution_seconds: 1,
        };
        Ok((vec![stretch], self.skipped))
    }
}
