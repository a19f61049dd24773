//! What came of it.

use std::{fmt, time::Duration};

use comfy_table::{CellAlignment, Table, presets};
use flowguard_tests::{client::Outcome, report::Totals};

use crate::rounds::Deeds;

/// Tells a person how it goes.
#[expect(clippy::print_stdout, reason = "this is what the program is for")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// One tenant: what it found, and what was counted of it.
pub(crate) struct Line {
    pub(crate) source: &'static str,
    pub(crate) part: &'static str,
    pub(crate) blocked: bool,
    pub(crate) outcome: Outcome,
    pub(crate) counted: Totals,
}

impl Line {
    fn made(&self) -> u64 {
        let Outcome {
            connected,
            refused,
            not_permitted,
            timed_out,
            other,
            ..
        } = &self.outcome;
        connected + refused + not_permitted + timed_out + other.values().sum::<u64>()
    }

    /// What the tenant found besides what it was to find.
    fn wrong(&self) -> u64 {
        self.made()
            - if self.blocked {
                self.outcome.refused
            } else {
                self.outcome.connected
            }
    }

    fn is_good(&self) -> bool {
        let denied = if self.blocked { self.made() } else { 0 };
        self.wrong() == 0 && (self.counted.attempts, self.counted.denied) == (self.made(), denied)
    }
}

/// All of it.
pub(crate) struct Report {
    pub(crate) lines: Vec<Line>,
    /// Attempts of all sources there are.
    pub(crate) sum: u64,
    /// What arrived.
    pub(crate) accepted: u64,
    pub(crate) deeds: Deeds,
    pub(crate) took: Duration,
}

impl Report {
    fn made(&self) -> u64 {
        self.lines.iter().map(Line::made).sum()
    }

    fn connected(&self) -> u64 {
        self.lines.iter().map(|line| line.outcome.connected).sum()
    }

    /// Whether everything was as it is to be.
    pub(crate) fn is_good(&self) -> bool {
        self.lines.iter().all(Line::is_good)
            && self.sum == self.made()
            && self.accepted == self.connected()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "SOURCE",
            "PART",
            "MADE",
            "COUNTED",
            "CONNECTED",
            "REFUSED",
            "WRONG",
            "",
        ]);
        for line in &self.lines {
            table.add_row([
                line.source.to_owned(),
                line.part.to_owned(),
                line.made().to_string(),
                line.counted.attempts.to_string(),
                line.outcome.connected.to_string(),
                line.outcome.refused.to_string(),
                line.wrong().to_string(),
                if line.is_good() { "ok" } else { "FAILED" }.to_owned(),
            ]);
        }
        table.add_row([
            "all".to_owned(),
            String::new(),
            self.made().to_string(),
            self.sum.to_string(),
            self.accepted.to_string(),
            String::new(),
            String::new(),
            if self.is_good() { "ok" } else { "FAILED" }.to_owned(),
        ]);
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut deeds = Table::new();
        deeds.load_style(presets::NOTHING);
        deeds.set_header(["DAEMONS", "TIMES"]);
        for (what, times) in &self.deeds.0 {
            deeds.add_row([what.clone(), times.to_string()]);
        }
        for column in deeds.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let rate = self.made() as f64 / self.took.as_secs_f64().max(0.001);
        write!(
            f,
            "\n{deeds}\n\n{table}\n\n{} connections in {:.0} s, {rate:.0} a second",
            self.made(),
            self.took.as_secs_f64()
        )
    }
}
