//! `flowguard run --live`: what goes on, while it goes on.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    output::Output,
    sources::{is_silent, sum, verdict_cell},
    table::{Column, Table, plain},
    view::View,
};
use crate::{
    control::api::Source,
    daemon::handle::Handle,
    model::{Totals, escape},
};

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// The size of a terminal that does not tell it, which is that of a VT100.
const USUAL: Size = Size {
    width: 80,
    rows: 24 - FURNITURE,
};
/// Lines of a screen that are not rows: the title, the heading, and one for the cursor.
const FURNITURE: usize = 3;
/// ECMA-48: cursor home, and no line wrap (DECAWM off) so that a row is a line.
const FRAME_START: &str = "\x1b[H\x1b[?7l";
/// Erase to the end of the line.
const LINE_END: &str = "\x1b[K\n";
/// Erase what is left of the screen, line wrap on again.
const FRAME_END: &str = "\x1b[J\x1b[?7h";

/// What fits on the screen.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Columns.
    width: u16,
    /// Lines that are sources.
    rows: usize,
}

impl Size {
    fn of_terminal() -> Self {
        terminal_size::terminal_size().map_or(USUAL, |(width, height)| Self {
            width: width.0,
            rows: usize::from(height.0).saturating_sub(FURNITURE),
        })
    }
}

/// What was seen at a look: totals and verdict by source.
type Seen = BTreeMap<String, (Totals, Option<String>)>;

/// Shows the daemon's sources from now on, on a thread of its own: whoever stops the terminal
/// (Ctrl-S) must not stop the daemon. It ends with the daemon, or when nobody reads any more.
pub(super) fn start(handle: Handle, output: Output) {
    let thread = std::thread::Builder::new().name("live".to_owned());
    let started = thread.spawn(move || {
        if let Err(error) = show(&handle, output) {
            tracing::warn!("the live view ended: {error:#}");
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "there is no live view");
    }
}

fn show(handle: &Handle, output: Output) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut seen = Seen::new();
    let mut looked = Instant::now();
    loop {
        let Ok(mut sources) = runtime.block_on(handle.sources()) else {
            return Ok(());
        };
        let seconds = looked.elapsed().as_secs_f64();
        looked = Instant::now();
        sources.retain(|source| !is_silent(source));
        let view = View::now(output.color);
        if output.terminal {
            let size = Size::of_terminal();
            output.text(&frame(&table(&view, &seen, &sources, seconds, size)))?;
        } else {
            output.text(&changes(&view, &seen, &sources))?;
        }
        seen = sources.iter().map(remember).collect();
        std::thread::sleep(PERIOD);
    }
}

fn remember(source: &Source) -> (String, (Totals, Option<String>)) {
    (source.source.clone(), (sum(source), source.verdict.clone()))
}

/// Draws over what was there before.
fn frame(text: &str) -> String {
    let lines: String = text.lines().flat_map(|line| [line, LINE_END]).collect();
    format!("{FRAME_START}{lines}{FRAME_END}")
}

/// The busiest sources: by rate first, then by what they tried in all.
fn table(view: &View, seen: &Seen, sources: &[Source], seconds: f64, size: Size) -> String {
    let title = format!(
        "{}: {} active; Ctrl-C stops the daemon, the guard stays\n",
        view.time(view.now),
        sources.len()
    );
    if sources.is_empty() {
        return title + "No source has tried to send mail since the guard was first attached.\n";
    }

    let mut busiest: Vec<_> = sources
        .iter()
        .map(|source| {
            let attempts = sum(source).attempts;
            let before = seen
                .get(&source.source)
                .map_or(attempts, |(totals, _)| totals.attempts);
            (attempts.saturating_sub(before), source)
        })
        .collect();
    busiest.sort_by_cached_key(|(new, source)| std::cmp::Reverse((*new, sum(source).attempts)));
    let mut table = Table::new(
        view,
        &[
            Column::Text("SOURCE"),
            Column::Number("ATTEMPTS"),
            Column::Number("/S"),
            Column::Number("DESTINATIONS"),
            Column::Number("DENIED"),
            Column::Number("WOULD-DENY"),
            Column::Text("VERDICT"),
        ],
    );
    for (new, source) in busiest.into_iter().take(size.rows) {
        let sum = sum(source);
        table.row([
            plain(escape(&source.source)),
            plain(sum.attempts),
            plain(format!("{:.1}", new as f64 / seconds.max(f64::EPSILON))),
            plain(sum.destinations),
            plain(sum.denied),
            plain(sum.would_deny),
            match (&source.verdict, &source.exempt) {
                // By which rule is what `flowguard sources` tells; here is no room.
                (None, Some(_)) => plain("exempt"),
                _ => verdict_cell(source),
            },
        ]);
    }
    // On anything narrower, names would be nothing but ellipses; the terminal cuts the lines.
    table.narrow(size.width.max(USUAL.width));
    title + &table.render()
}

/// A line for every source of which something is new.
fn changes(view: &View, seen: &Seen, sources: &[Source]) -> String {
    let mut text = String::new();
    for source in sources {
        let (name, now) = remember(source);
        let before = seen.get(&name);
        if before == Some(&now) {
            continue;
        }
        let new = before.map_or_else(String::new, |(totals, _)| {
            format!(" (+{})", now.0.attempts.saturating_sub(totals.attempts))
        });
        text.push_str(&format!(
            "{} {} attempts {}{new} destinations {} denied {} would-deny {} verdict {}\n",
            view.time(view.now),
            escape(&name),
            now.0.attempts,
            now.0.destinations,
            now.0.denied,
            now.0.would_deny,
            verdict_cell(source).1
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use crate::model::ClassName;

    fn source(name: &str, attempts: u64) -> Source {
        testing::source(
            name,
            &[(ClassName::Direct, testing::totals(attempts, 1, 0))],
        )
    }

    #[test]
    fn the_busiest_come_first_with_their_rate() {
        let seen: Seen = [source("alice", 100), source("bob", 10)]
            .iter()
            .map(remember)
            .collect();
        let sources = [
            source("alice", 101),
            source("bob", 15),
            source("carol", 900),
        ];
        let size = Size { width: 80, rows: 2 };
        assert_eq!(
            table(&testing::view(), &seen, &sources, 2.0, size),
            "\
2025-06-15 15:06:40 UTC: 3 active; Ctrl-C stops the daemon, the guard stays
SOURCE      ATTEMPTS   /S  DESTINATIONS  DENIED  WOULD-DENY  VERDICT
user:bob          15  2.5             1       0           0  -
user:alice       101  0.5             1       0           0  -
"
        );
    }

    #[test]
    fn a_long_name_does_not_hide_the_verdict() {
        let long = Source {
            verdict: Some("block".to_owned()),
            ..source("a-name-that-is-longer-than-a-line-has-room", 7)
        };
        let shown = |width| {
            let size = Size { width, rows: 2 };
            table(
                &testing::view(),
                &Seen::new(),
                std::slice::from_ref(&long),
                1.0,
                size,
            )
        };
        assert_eq!(
            shown(80).lines().last(),
            Some("user:a-name-that-is…         7  0.0             1       0           0  block")
        );
        assert!(shown(100).ends_with("7  0.0             1       0           0  block\n"));
        for width in [0, 1, 20, 60] {
            assert_eq!(shown(width).lines().count(), 3, "{width}");
        }
    }

    #[test]
    fn an_exemption_leaves_room_for_names() {
        let root = Source {
            exempt: Some("mail-servers".to_owned()),
            ..source("root", 1)
        };
        let size = Size { width: 80, rows: 2 };
        let text = table(&testing::view(), &Seen::new(), &[root], 1.0, size);
        assert!(text.ends_with("0  exempt\n"), "{text}");
    }

    #[test]
    fn a_quiet_machine_is_said_to_be_quiet() {
        let size = Size { width: 80, rows: 2 };
        let text = table(&testing::view(), &Seen::new(), &[], 1.0, size);
        assert!(
            text.ends_with(
                "No source has tried to send mail since the guard was first attached.\n"
            )
        );
    }

    #[test]
    fn only_changes_make_lines() {
        let seen: Seen = [source("alice", 100), source("bob", 10)]
            .iter()
            .map(remember)
            .collect();
        let blocked = Source {
            verdict: Some("block".to_owned()),
            ..source("bob", 10)
        };
        let sources = [source("alice", 100), blocked, source("carol", 3)];
        assert_eq!(
            changes(&testing::view(), &seen, &sources),
            "\
2025-06-15 15:06:40 UTC user:bob attempts 10 (+0) destinations 1 denied 0 would-deny 0 verdict block
2025-06-15 15:06:40 UTC user:carol attempts 3 destinations 1 denied 0 would-deny 0 verdict -
"
        );
    }

    #[test]
    fn a_frame_leaves_nothing_of_the_last_one() {
        assert_eq!(
            frame("a\nb\n"),
            "\u{1b}[H\u{1b}[?7la\u{1b}[K\nb\u{1b}[K\n\u{1b}[J\u{1b}[?7h"
        );
    }
}
