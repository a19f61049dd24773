//! `flowguard policy replay`: whom would this policy have hit?

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use ipnet::IpNet;
use jiff::Timestamp;

use super::super::{
    args,
    context::Context,
    exit::Exit,
    table::{Column, Table, plain},
    view::{self, Tone, View},
};
use crate::{
    config::Config,
    control::api::{Comparison, Hit, Judged, Outcome, Skipped, Stretch, Tried},
    model::escape,
    replay::{self, Format, Trial},
    store::Reader,
};

/// Bytes of a log that are read at once.
const BUFFER: usize = 1 << 20;

/// Tell whom a policy would have hit in the past, and how that differs from today's
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A configuration with the policy to try
    candidate: PathBuf,
    /// How far back to look
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = args::duration, conflicts_with = "from")]
    since: Duration,
    /// Compare with this configuration, instead of the one that `flowguard run` would read
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Try it on the connections in this log, instead of what the daemon has seen
    #[arg(long, value_name = "LOG", requires = "format")]
    from: Option<PathBuf>,
    /// How the log is written
    #[arg(long, requires = "from")]
    format: Option<Format>,
    /// Of a log, only connections of these networks [default: all that the log does not call foreign]
    #[arg(long, value_name = "NETWORK", requires = "from")]
    tenants: Vec<IpNet>,
    #[command(flatten)]
    json: args::Json,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let current = context.config();
    let against = match &args.against {
        Some(path) => Config::load(path)?,
        None => current?,
    };
    let candidate = Config::load(&args.candidate)?;
    let trials = vec![Trial::new(&candidate), Trial::new(&against)];
    let outcome = match (&args.from, args.format) {
        (Some(log), Some(format)) => try_log(log, format, &args.tenants, trials)?,
        _ => try_history(&against.paths.state, args.since, trials)?,
    };
    if args.json.json {
        context.output.json(&outcome)?;
    } else {
        context.output.text(&render(&context.view(), &outcome))?;
    }
    Ok(Exit::Done)
}

fn try_history(
    state: &Path,
    since: Duration,
    mut trials: Vec<Trial<'_>>,
) -> anyhow::Result<Outcome> {
    let reader = Reader::open(state).with_context(|| {
        format!(
            "the history in {} cannot be read; it takes root",
            state.display()
        )
    })?;
    let since = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let since = Timestamp::now().as_second().saturating_sub(since);
    let (stretches, skipped) = replay::over_history(&reader, since, &mut trials)?;
    let mut notes = Vec::new();
    if stretches.is_empty() {
        notes.push(
            "there is no history of that time yet: the daemon writes it once a minute".to_owned(),
        );
    }
    if stretches
        .iter()
        .any(|stretch| stretch.resolution_seconds == 3_600)
    {
        notes.push(
            "hours are taken as spread evenly over their minutes: a short burst looks slower than it \
             was, so that some hits may be missing"
                .to_owned(),
        );
    }
    notes.extend(by_groups(&trials));
    Ok(outcome(
        state.display().to_string(),
        stretches,
        skipped,
        notes,
        trials,
    ))
}

fn try_log(
    log: &Path,
    format: Format,
    tenants: &[IpNet],
    mut trials: Vec<Trial<'_>>,
) -> anyhow::Result<Outcome> {
    let shown = || format!("cannot read {}", log.display());
    let file = BufReader::with_capacity(BUFFER, File::open(log).with_context(shown)?);
    let (stretches, skipped) =
        replay::over_flows(file, format, tenants, &mut trials).with_context(shown)?;
    let mut notes = vec![
        "sources are addresses; a log has no replies, no TLS and no retransmits: conditions on them are \
         never met"
            .to_owned(),
    ];
    notes.extend(by_groups(&trials));
    Ok(outcome(
        log.display().to_string(),
        stretches,
        skipped,
        notes,
        trials,
    ))
}

/// What the past does not have.
fn by_groups(trials: &[Trial<'_>]) -> Option<String> {
    let mut rules = trials
        .iter()
        .flat_map(|trial| &trial.config().judgement.rules);
    rules.any(|rule| !rule.groups.is_empty()).then(|| {
        "nobody knows the groups that users were in: rules that ask for `groups` hit nobody here"
            .to_owned()
    })
}

fn outcome(
    from: String,
    stretches: Vec<Stretch>,
    skipped: Skipped,
    notes: Vec<String>,
    trials: Vec<Trial<'_>>,
) -> Outcome {
    let (sources, attempts) = trials.first().map_or((0, 0), Trial::size);
    let mut tried = trials.into_iter().map(|trial| Tried {
        config: trial
            .config()
            .origin
            .as_ref()
            .map(|path| path.display().to_string()),
        hits: trial.into_hits(),
    });
    let mut next = || {
        tried.next().unwrap_or(Tried {
            config: None,
            hits: Vec::new(),
        })
    };
    let (candidate, against) = (next(), next());
    Outcome {
        from,
        stretches,
        sources,
        attempts,
        comparison: replay::compare(&candidate.hits, &against.hits),
        candidate,
        against,
        skipped,
        notes,
    }
}

fn render(view: &View, outcome: &Outcome) -> String {
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
        control::api::{ActionName, SkippedLine},
        model::ClassName,
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
