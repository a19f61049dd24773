//! What `flowguard policy replay` prints.

use super::super::{
    table::{Column, Table, plain},
    view::{self, Tone, View},
};
use crate::{
    control::api::{Comparison, Hit, Judged, Outcome, Skipped, Tried},
    model::escape,
};

/// The outcome for people.
pub(super) fn render(view: &View, outcome: &Outcome) -> String {
    let name = |tried: &Tried| {
        tried
            .config
            .as_deref()
            .map_or_else(|| "the built-in policy".to_owned(), escape)
    };
    let mut text = format!(
        "{}: {} connections of {} sources\n",
        escape(&outcome.from),
        outcome.attempts,
        outcome.sources
    );
    for stretch in &outcome.stretches {
        text.push_str(&format!(
            "  {} to {}, by {}\n",
            view.time(stretch.since),
            view.time(stretch.until),
            match stretch.resolution_seconds {
                3_600 => "the hour",
                60 => "the minute",
                _ => "the second",
            }
        ));
    }
    text.push_str(&format!(
        "candidate  {}: {} hits\nagainst    {}: {} hits\n",
        name(&outcome.candidate),
        outcome.candidate.hits.len(),
        name(&outcome.against),
        outcome.against.hits.len()
    ));
    if !outcome.comparison.is_empty() {
        text.push('\n');
        text.push_str(&differences(view, &outcome.comparison));
    }
    if !outcome.candidate.hits.is_empty() {
        text.push_str("\nHITS OF THE CANDIDATE\n");
        text.push_str(&hits(view, &outcome.candidate.hits));
    }
    for line in skipped(&outcome.skipped).iter().chain(&outcome.notes) {
        text.push_str(&format!("\nnote: {}", escape(line)));
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

fn differences(view: &View, comparison: &[Comparison]) -> String {
    let mut table = Table::new(
        view,
        &[
            Column::Text("SOURCE"),
            Column::Text("CLASS"),
            Column::Text("DIFFERENCE"),
            Column::Text("CANDIDATE"),
            Column::Text("AGAINST"),
        ],
    );
    for source in comparison {
        let (tone, word) = match (&source.candidate, &source.against) {
            _ if source.same => (Tone::Plain, "none"),
            (Some(_), None) => (Tone::Warning, "hit now"),
            (None, _) => (Tone::Good, "left alone now"),
            (Some(_), Some(_)) => (Tone::Plain, "otherwise"),
        };
        let shown = |judged: &Option<Judged>| {
            plain(judged.as_ref().map_or_else(
                || "-".to_owned(),
                |judged| {
                    let gravest = judged.gravest.word();
                    format!("{gravest}: {} ({})", escape(&judged.rule), judged.hits)
                },
            ))
        };
        table.row([
            plain(escape(&source.source)),
            plain(view::class(source.class)),
            (tone, word.to_owned()),
            shown(&source.candidate),
            shown(&source.against),
        ]);
    }
    table.render()
}

fn hits(view: &View, hits: &[Hit]) -> String {
    let mut table = Table::new(
        view,
        &[
            Column::Text("WHEN"),
            Column::Text("SOURCE"),
            Column::Text("CLASS"),
            Column::Text("ACTION"),
            Column::Text("STEP"),
            Column::Text("FOR"),
            Column::Text("RULE"),
        ],
    );
    for hit in hits {
        let action = hit.action.word();
        let seen: Vec<_> = hit
            .observations
            .iter()
            .map(|seen| format!("{} {}", rounded(seen.value), escape(&seen.what)))
            .collect();
        table.row([
            plain(view.time(hit.at)),
            plain(escape(&hit.source)),
            plain(view::class(hit.class)),
            (Tone::of(action), action.to_owned()),
            plain(format!("{} of {}", hit.step, hit.of)),
            plain(if hit.seconds == 0 {
                "-".to_owned()
            } else {
                view::span(hit.seconds)
            }),
            plain(format!("{}: {}", escape(&hit.rule), seen.join(", "))),
        ]);
    }
    table.render()
}

/// Two digits behind the point, and none that are zero.
fn rounded(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What was not used, a line each.
fn skipped(skipped: &Skipped) -> Vec<String> {
    let broken: Vec<_> = skipped
        .broken_lines
        .iter()
        .map(|line| format!("line {}: {}", line.line, line.why))
        .collect();
    let late: Vec<_> = skipped.late_lines.iter().map(u64::to_string).collect();
    [
        (skipped.damaged, "rows of the history are damaged and left out".to_owned()),
        (skipped.broken, format!("lines are broken and left out ({})", broken.join("; "))),
        (
            skipped.late,
            format!(
                "connections stand more than an hour behind later ones and are left out (lines {}): \
                 sort the log by time",
                late.join(", ")
            ),
        ),
        (skipped.other_ports, "connections go to ports that nobody guards".to_owned()),
        (skipped.foreign, "connections are not of tenants".to_owned()),
        (
            skipped.no_attempt,
            "lines are no connections of TCP whose beginning was seen".to_owned(),
        ),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::super::testing, *};
    use crate::{
        control::api::{ActionName, SkippedLine, Stretch},
        model::ClassName,
        replay,
    };

    #[test]
    fn the_outcome_tells_who_and_when_and_what_is_missing() {
        let hit = Hit {
            at: testing::time(-60),
            source: "addr:192.0.2.7".to_owned(),
            class: ClassName::Direct,
            rule: "fan\u{1b}out".to_owned(),
            step: 2,
            of: 3,
            action: ActionName::Block,
            seconds: 3_600,
            observations: testing::verdict().observations,
        };
        let outcome = outcome_of(hit);
        assert_eq!(
            render(&testing::view(), &outcome),
            "\
conn.log: 30 connections of 2 sources
  2025-06-15 14:06:40 UTC to 2025-06-15 15:06:40 UTC, by the second
candidate  new.toml: 1 hits
against    the built-in policy: 0 hits

SOURCE          CLASS   DIFFERENCE  CANDIDATE                AGAINST
addr:192.0.2.7  direct  hit now     block: fan\\u{1b}out (1)  -

HITS OF THE CANDIDATE
WHEN                     SOURCE          CLASS   ACTION  STEP    FOR  RULE
2025-06-15 15:05:40 UTC  addr:192.0.2.7  direct  block   2 of 3  1h   fan\\u{1b}out: 311 destinations, 4120 attempts

note: 1 lines are broken and left out (line 4: `x\\u{1b}` is no time)
note: no replies
"
        );
    }

    fn outcome_of(hit: Hit) -> Outcome {
        let tried = |config: Option<&str>, hits| Tried {
            config: config.map(str::to_owned),
            hits,
        };
        Outcome {
            from: "conn.log".to_owned(),
            stretches: vec![Stretch {
                since: testing::time(-3_600),
                until: testing::time(0),
                resolution_seconds: 1,
            }],
            sources: 2,
            attempts: 30,
            comparison: replay::compare(std::slice::from_ref(&hit), &[]),
            candidate: tried(Some("new.toml"), vec![hit]),
            against: tried(None, Vec::new()),
            skipped: Skipped {
                broken: 1,
                broken_lines: vec![SkippedLine {
                    line: 4,
                    why: "`x\u{1b}` is no time".to_owned(),
                }],
                ..Skipped::default()
            },
            notes: vec!["no replies".to_owned()],
        }
    }
}
