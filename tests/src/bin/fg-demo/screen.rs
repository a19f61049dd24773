//! What the viewer sees: lines that stay, and below them on a terminal a table that is drawn
//! again and again in the same place.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Result;
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

/// ECMA-48: no line wrap (DECAWM off), so that a line is a line however narrow the terminal.
const NO_WRAP: &str = "\x1b[?7l";
/// Line wrap on again.
const WRAP: &str = "\x1b[?7h";
/// Erase from the cursor to the end of the screen.
const ERASE_BELOW: &str = "\x1b[J";

/// One tenant's line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// `kind:name`.
    pub(crate) source: String,
    /// Connections tried.
    pub(crate) attempts: u64,
    /// First contacts with a server.
    pub(crate) destinations: u64,
    /// Attempts refused.
    pub(crate) denied: u64,
    /// The verdict in force.
    pub(crate) verdict: Option<String>,
}

/// Where the demo is shown.
#[derive(Debug)]
pub(crate) struct Screen {
    /// Whether what was drawn can be drawn over.
    terminal: bool,
    color: bool,
    /// Lines of the table that the cursor is below of.
    drawn: usize,
}

impl Screen {
    /// The process's stdout.
    pub(crate) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        // https://no-color.org: set and not empty.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            terminal,
            color: terminal && !refused,
            drawn: 0,
        }
    }

    /// Whether tables replace each other.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Shows text that stays, in place of the table.
    pub(crate) fn say(&mut self, text: &str) -> Result<()> {
        let erase = self.erase();
        write(&format!("{erase}{text}\n"))
    }

    /// Shows a table, in place of the last one where that is possible.
    pub(crate) fn draw(&mut self, rows: &[Row]) -> Result<()> {
        let table = format!("\n{}\n\n", table(rows, self.color));
        if !self.terminal {
            return write(&table);
        }
        let erase = self.erase();
        self.drawn = table.lines().count();
        write(&format!("{erase}{NO_WRAP}{table}{WRAP}"))
    }

    /// Leaves the table where it is from now on.
    pub(crate) fn keep(&mut self) {
        self.drawn = 0;
    }

    /// Says something about the demo itself, on stderr.
    pub(crate) fn remark(&mut self, text: &str) {
        self.keep();
        // Nobody is left to tell if stderr is gone.
        writeln!(io::stderr(), "{text}").ok();
    }

    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            // CPL: to the start of the line so many up.
            lines => format!("\x1b[{lines}F{ERASE_BELOW}"),
        }
    }
}

fn write(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

fn table(rows: &[Row], color: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "SOURCE",
        "ATTEMPTS",
        "DESTINATIONS",
        "DENIED",
        "VERDICT",
    ]);
    for (n, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if (1..=3).contains(&n) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    if color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    for row in rows {
        let verdict = match &row.verdict {
            Some(verdict) if color => Cell::new(verdict)
                .fg(Color::DarkRed)
                .add_attribute(Attribute::Bold),
            Some(verdict) => Cell::new(verdict),
            None => Cell::new("-"),
        };
        table.add_row([
            Cell::new(&row.source),
            Cell::new(row.attempts),
            Cell::new(row.destinations),
            Cell::new(row.denied),
            verdict,
        ]);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_and_coloured_where_wanted() {
        let calm = Row {
            source: "container:contact-form".to_owned(),
            attempts: 7,
            destinations: 3,
            denied: 0,
            verdict: None,
        };
        let stopped = Row {
            source: "container:hacked-site".to_owned(),
            attempts: 200,
            destinations: 200,
            denied: 140,
            verdict: Some("block".to_owned()),
        };
        assert_eq!(
            table(&[calm, stopped.clone()], false),
            "\
SOURCE                  ATTEMPTS  DESTINATIONS  DENIED  VERDICT
container:contact-form         7             3       0  -
container:hacked-site        200           200     140  block"
        );
        assert!(table(&[stopped], true).contains("\u{1b}["));
    }
}
