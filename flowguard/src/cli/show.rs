//! `flowguard show`: one source, explained so that it can be forwarded as it is.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    args,
    context::Context,
    exit::Exit,
    identity, outcome, reason,
    table::{Column, Table, plain},
    verdicts,
    view::{self, Tone, View},
};
use crate::{
    control::api::{ActionName, Event, SourceDetail, VerdictRecord},
    model::{Mode, escape},
};

/// Destinations and processes that are listed, at most.
const LISTED: usize = 10;

/// Texts of replies that are listed with a verdict, at most.
const REPLIES: usize = 3;

/// Explain what a source did and why it was stopped
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// user:NAME|UID, container:NAME|ID, cgroup:PATH, iface:NAME or addr:IP[/N]
    #[arg(value_parser = args::source)]
    source: String,
    #[command(flatten)]
    json: args::Json,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let client = context.client()?;
    let detail = context.wait(client.show(&args.source))??;
    if args.json.json {
        context.output.json(&detail)?;
    } else {
        // The mode in force decides whether a rule's verdict is more than a note.
        let mode = context.wait(client.status())??.mode;
        let text = render(&context.view(), mode, &detail);
        context.output.text(&text)?;
    }
    Ok(Exit::Done)
}

/// Neither lifted nor over.
fn is_in_force(view: &View, verdict: &VerdictRecord) -> bool {
    verdict.ended.is_none() && verdict.until.is_none_or(|until| until > view.now)
}

fn render(view: &View, mode: Mode, detail: &SourceDetail) -> String {
    let mut text = who(view, detail);
    text.push_str(&counted(view, detail));
    text.push_str(&outcome::of_classes(&detail.summary.classes));
    let (current, past): (Vec<_>, Vec<_>) = detail
        .verdicts
        .iter()
        .cloned()
        .partition(|verdict| is_in_force(view, verdict));
    if current.is_empty() {
        text.push_str("\nNo verdict is in force.\n");
    }
    for verdict in &current {
        text.push_str(&explain(view, mode, verdict));
    }
    if !past.is_empty() {
        text.push_str("\nEARLIER VERDICTS\n");
        text.push_str(&verdicts::render(view, &past));
    }
    text.push_str(&recent(view, &detail.events));
    text.push_str(&outcome::replies(view, &detail.replies));
    text
}

fn who(view: &View, detail: &SourceDetail) -> String {
    let summary = &detail.summary;
    let mut text = escape(&summary.source) + "\n";
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("  {name:<14}{value}\n"));
    };
    if let Some(tenant) = &summary.tenant {
        line("customer", &identity::tenant(tenant));
    }
    for identity in &detail.identities {
        line("known by", &escape(identity));
    }
    for container in &detail.containers {
        line("container", &identity::container(container));
    }
    if let Some(seen) = summary.last_seen {
        line("last attempt", &view.time_and_distance(seen));
    }
    if let Some(rule) = &summary.exempt {
        line(
            "exempt",
            &format!("by `{}`: rules do not judge it", escape(rule)),
        );
    }
    text
}

fn counted(view: &View, detail: &SourceDetail) -> String {
    let classes = &detail.summary.classes;
    if classes.is_empty() {
        return "\nIt has tried nothing since the guard was first attached.\n".to_owned();
    }
    // Retransmits are seen at edges only: where there are none, they may not have been looked for.
    let retransmits = classes.values().any(|totals| totals.retransmits > 0);
    let mut columns = vec![
        Column::Text("CLASS"),
        Column::Number("ATTEMPTS"),
        Column::Number("DESTINATIONS"),
        Column::Number("DENIED"),
        Column::Number("WOULD-DENY"),
    ];
    columns.extend(retransmits.then_some(Column::Number("RETRANSMITS")));
    let mut table = Table::new(view, &columns);
    for (class, totals) in classes {
        let mut row = vec![
            plain(view::class(*class)),
            plain(totals.attempts),
            plain(totals.destinations),
            plain(totals.denied),
            plain(totals.would_deny),
        ];
        row.extend(retransmits.then(|| plain(totals.retransmits)));
        table.row(row);
    }
    format!(
        "\nCOUNTED SINCE THE GUARD WAS FIRST ATTACHED\n{}",
        table.render()
    )
}

/// A verdict in force: what, since when, until when, by whom, why, and on what evidence.
fn explain(view: &View, mode: Mode, verdict: &VerdictRecord) -> String {
    let word = verdict.action.word();
    let mut text = format!(
        "\nVERDICT IN FORCE: {} {}\n",
        view.paint(Tone::of(word), word),
        view::class(verdict.class)
    );
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("  {name:<14}{value}\n"));
    };
    line("since", &view.time_and_distance(verdict.since));
    let until = verdict.until.map_or_else(
        || "somebody lifts it (`flowguard unblock`)".to_owned(),
        |until| view.time_and_distance(until),
    );
    line("until", &until);
    match &verdict.rule {
        Some(rule) => line(
            "by",
            &format!("rule `{}` ({})", escape(rule), escape(&verdict.by)),
        ),
        None => line("by", &escape(&verdict.by)),
    }
    if let Some(reason) = &verdict.reason {
        line("reason", &escape(reason));
    }
    for seen in &verdict.observations {
        line("because", &reason::observation(seen));
    }
    if let Some(known) = &verdict.likelihood {
        line("likelihood", &reason::likelihood(known));
    }
    if let Some(step) = &verdict.step {
        line("step", &reason::step(step));
    }
    line("effect", &effect(mode, verdict));
    if !verdict.events.is_empty() {
        line("destinations", &listed(&destinations(&verdict.events)));
    }
    let processes = processes(&verdict.events);
    if !processes.is_empty() {
        line("processes", &listed(&processes));
    }
    for text in replies(verdict) {
        line("reply", &text);
    }
    line("record", &verdict.record.to_string());
    text
}

/// The last replies, each text once.
fn replies(verdict: &VerdictRecord) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for reply in &verdict.replies {
        let text = escape(&reply.text);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts.truncate(REPLIES);
    texts
}

fn effect(mode: Mode, verdict: &VerdictRecord) -> String {
    let rate = || {
        verdict
            .limit
            .map_or_else(|| "a rate".to_owned(), view::rate)
    };
    match (verdict.action, mode, &verdict.rule) {
        (ActionName::Notice, ..) => "none: it is noted".to_owned(),
        (ActionName::Allow, ..) => "everything passes, whatever the rules say".to_owned(),
        (_, Mode::Observe, Some(_)) => {
            "none: in observe mode what it would refuse passes, and is counted as would-deny"
                .to_owned()
        }
        (ActionName::NewDestinations, ..) => {
            format!(
                "servers it knows stay open to it; new ones are refused beyond {}",
                rate()
            )
        }
        (ActionName::Limit, ..) => format!("new connections beyond {} are refused", rate()),
        (ActionName::Redirect, ..) => {
            "new connections go to the smarthost, or are refused where there is none".to_owned()
        }
        (ActionName::Block, ..) => "new connections are refused".to_owned(),
        (ActionName::Sever, ..) => {
            "new connections are refused, and packets of open ones dropped".to_owned()
        }
    }
}

/// How often something was seen, and when last.
struct Times {
    count: u64,
    last: Timestamp,
}

fn tally<K: Ord>(items: impl Iterator<Item = (K, Timestamp)>) -> Vec<(K, Times)> {
    let mut counted = BTreeMap::new();
    for (key, time) in items {
        let times = counted.entry(key).or_insert(Times {
            count: 0,
            last: time,
        });
        times.count += 1;
        times.last = times.last.max(time);
    }
    let mut counted: Vec<_> = counted.into_iter().collect();
    counted.sort_by_key(|(_, times)| std::cmp::Reverse(times.count));
    counted
}

fn destinations(events: &[Event]) -> Vec<(String, Times)> {
    tally(
        events
            .iter()
            .map(|event| (view::destination(event), event.time)),
    )
}

/// `php-fpm (uid 1001)`: not every hook knows the process, so there may be fewer than events.
fn processes(events: &[Event]) -> Vec<(String, Times)> {
    tally(events.iter().filter_map(|event| {
        let process = event.process.as_ref()?;
        let name = format!("{} (uid {})", escape(&process.comm), process.uid);
        Some((name + &identity::behind(&process.details), event.time))
    }))
}

fn listed(items: &[(String, Times)]) -> String {
    let names: Vec<_> = items
        .iter()
        .take(LISTED)
        .map(|(name, _)| name.as_str())
        .collect();
    let more = items.len().saturating_sub(LISTED);
    if more > 0 {
        format!("{} and {more} more", names.join(", "))
    } else {
        names.join(", ")
    }
}

fn recent(view: &View, events: &[Event]) -> String {
    let mut text = String::new();
    for (heading, column, items) in [
        ("RECENT DESTINATIONS", "DESTINATION", destinations(events)),
        ("RECENT PROCESSES", "PROCESS", processes(events)),
    ] {
        if items.is_empty() {
            continue;
        }
        let columns = [
            Column::Text(column),
            Column::Number("SEEN"),
            Column::Text("LAST"),
        ];
        let mut table = Table::new(view, &columns);
        for (name, times) in items.iter().take(LISTED) {
            table.row([
                plain(name),
                plain(times.count),
                plain(view.distance(times.last)),
            ]);
        }
        text.push_str(&format!(
            "\n{heading} (in the last {} attempts on record)\n{}",
            events.len(),
            table.render()
        ));
        if items.len() > LISTED {
            text.push_str(&format!("and {} more\n", items.len() - LISTED));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use crate::{
        control::api::{Limit, Source},
        model::{ClassName, Totals},
    };

    fn detail() -> SourceDetail {
        SourceDetail {
            summary: testing::source(
                "alice",
                &[(ClassName::Direct, testing::totals(4_120, 311, 120))],
            ),
            identities: vec!["uid 1001".to_owned()],
            containers: Vec::new(),
            verdicts: vec![
                testing::verdict(),
                VerdictRecord {
                    until: Some(testing::time(-86_400)),
                    since: testing::time(-90_000),
                    ..testing::verdict()
                },
            ],
            events: vec![
                testing::event(-5, 1, Some("php-fpm")),
                testing::event(-7, 2, None),
                testing::event(-9, 2, Some("php-fpm")),
            ],
            replies: Vec::new(),
        }
    }

    #[test]
    fn the_explanation_can_be_forwarded() {
        assert_eq!(
            render(&testing::view(), Mode::Enforce, &detail()),
            "\
user:alice
  known by      uid 1001
  last attempt  2025-06-15 15:05:10 UTC (1m 30s ago)

COUNTED SINCE THE GUARD WAS FIRST ATTACHED
CLASS   ATTEMPTS  DESTINATIONS  DENIED  WOULD-DENY
direct      4120           311     120           0

VERDICT IN FORCE: block direct
  since         2025-06-15 15:03:40 UTC (3m ago)
  until         2025-06-15 16:03:40 UTC (in 57m)
  by            rule `mass-mailing` (policy)
  because       311 destinations within 10m; the limit is 40
  because       4120 attempts within 10m; the limit is 400
  step          2 of 3; offence 2 against this rule
  effect        new connections are refused
  destinations  192.0.2.1:25, 192.0.2.2:25
  processes     php-fpm (uid 1001)
  record        12

EARLIER VERDICTS
SOURCE      CLASS   VERDICT  SINCE      ENDS    WHY
user:alice  direct  block    1d 1h ago  1d ago  rule mass-mailing: 311 destinations in 10m (limit 40)

RECENT DESTINATIONS (in the last 3 attempts on record)
DESTINATION   SEEN  LAST
192.0.2.2:25     2  7s ago
192.0.2.1:25     1  5s ago

RECENT PROCESSES (in the last 3 attempts on record)
PROCESS             SEEN  LAST
php-fpm (uid 1001)     2  5s ago
"
        );
    }

    #[test]
    fn what_was_not_measured_is_not_shown() {
        let silent = SourceDetail {
            summary: Source {
                exempt: Some("newsletter".to_owned()),
                ..testing::source("carol", &[])
            },
            identities: Vec::new(),
            containers: Vec::new(),
            verdicts: Vec::new(),
            events: Vec::new(),
            replies: Vec::new(),
        };
        assert_eq!(
            render(&testing::view(), Mode::Observe, &silent),
            "\
user:carol
  exempt        by `newsletter`: rules do not judge it

It has tried nothing since the guard was first attached.

No verdict is in force.
"
        );
        let edge = SourceDetail {
            summary: testing::source(
                "web",
                &[(
                    ClassName::Direct,
                    Totals {
                        retransmits: 3,
                        ..testing::totals(1, 1, 0)
                    },
                )],
            ),
            ..silent
        };
        let text = render(&testing::view(), Mode::Observe, &edge);
        assert!(text.contains("RETRANSMITS"), "{text}");
    }

    #[test]
    fn the_effect_depends_on_mode_and_author() {
        let by_rule = testing::verdict();
        let by_hand = VerdictRecord {
            rule: None,
            ..testing::verdict()
        };
        assert!(effect(Mode::Observe, &by_rule).starts_with("none"));
        assert_eq!(
            effect(Mode::Enforce, &by_rule),
            "new connections are refused"
        );
        assert_eq!(
            effect(Mode::Observe, &by_hand),
            "new connections are refused"
        );
        let limited = VerdictRecord {
            action: ActionName::Limit,
            limit: Some(Limit {
                burst: 10,
                interval_ns: 360_000_000_000,
            }),
            ..by_hand
        };
        assert_eq!(
            effect(Mode::Observe, &limited),
            "new connections beyond 10 at once and then one every 6m are refused"
        );
    }

    #[test]
    fn long_lists_are_cut() {
        let events: Vec<_> = (1..=12).map(|last| testing::event(0, last, None)).collect();
        assert!(listed(&destinations(&events)).ends_with("and 2 more"));
        assert!(recent(&testing::view(), &events).ends_with("and 2 more\n"));
    }
}
