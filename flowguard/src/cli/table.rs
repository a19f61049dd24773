//! Aligned columns without borders.

use anstyle::AnsiColor;
use comfy_table::{Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, presets};

use super::view::{Tone, View};

/// A column: its heading, and how its cells are aligned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// Aligned left.
    Text(&'static str),
    /// Aligned right.
    Number(&'static str),
}

/// A table under construction.
#[derive(Debug)]
pub(super) struct Table {
    table: comfy_table::Table,
    color: bool,
}

impl Table {
    pub(super) fn new(view: &View, columns: &[Column]) -> Self {
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::NOTHING)
            .set_header(columns.iter().map(|column| match column {
                Column::Text(name) | Column::Number(name) => *name,
            }));
        for (column, settings) in columns.iter().zip(table.column_iter_mut()) {
            settings.set_padding((0, 2));
            if matches!(column, Column::Number(_)) {
                settings.set_cell_alignment(CellAlignment::Right);
            }
        }
        if view.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        Self {
            table,
            color: view.color,
        }
    }

    /// Adds a row; what came from outside must have been escaped.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = (Tone, String)>) {
        let color = self.color;
        self.table.add_row(cells.into_iter().map(|(tone, text)| {
            let cell = Cell::new(text);
            match tone.color().filter(|_| color) {
                Some(AnsiColor::Green) => cell.fg(Color::DarkGreen),
                Some(AnsiColor::Yellow) => cell.fg(Color::DarkYellow),
                Some(_) => cell.fg(Color::DarkRed),
                None => cell,
            }
        }));
    }

    /// Makes it as narrow as this many columns by shortening what is in its first one: the last
    /// one, a verdict, is what one looks for. A row stays a line.
    pub(super) fn narrow(&mut self, width: u16) {
        self.table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
        for column in self.table.column_iter_mut().skip(1) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        for row in self.table.row_iter_mut() {
            row.max_height(1);
        }
    }

    /// Wraps what is in the last column, so that the table is no wider than this.
    pub(super) fn wrap(&mut self, width: u16) {
        self.table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
        let others = self.table.column_count().saturating_sub(1);
        for column in self.table.column_iter_mut().take(others) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }

    /// The table, with a line break at its end.
    pub(super) fn render(&self) -> String {
        self.table.trim_fmt() + "\n"
    }
}

/// A cell like any other.
pub(super) fn plain(text: impl ToString) -> (Tone, String) {
    (Tone::Plain, text.to_string())
}
