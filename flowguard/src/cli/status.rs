//! `flowguard status`: is the guard up, and is it well?

use super::{
    args,
    context::Context,
    exit::Exit,
    table::{Column, Table, plain},
    view::{self, Tone, View},
};
use crate::{
    control::api::{RiskLevel, SendingAddress, Status, TableUse},
    model::{Mode, escape},
};

/// Hooks on devices that are named one by one.
const NAMED_EDGES: usize = 5;

/// Show how the daemon and the guard are
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    json: args::Json,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let client = context.client()?;
    let status = context.wait(client.status())??;
    if args.json.json {
        context.output.json(&status)?;
    } else {
        context.output.text(&render(&context.view(), &status))?;
    }
    Ok(Exit::Done)
}

/// What a mode means for tenants.
pub(super) const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe: only what an operator ordered by hand is refused",
        Mode::Enforce => "enforce: verdicts and ceilings are carried out",
    }
}

fn hooks(hooks: &[String]) -> String {
    let (edges, others): (Vec<_>, Vec<_>) =
        hooks.iter().partition(|hook| hook.starts_with("edge "));
    let mut names: Vec<_> = others.into_iter().map(|hook| escape(hook)).collect();
    if edges.len() > NAMED_EDGES {
        names.push(format!("{} edge devices", edges.len()));
    } else {
        names.extend(edges.into_iter().map(|hook| escape(hook)));
    }
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Whether a table is four fifths full, or somebody found no room in it.
const fn worth_a_look(usage: &TableUse) -> bool {
    usage.refused > 0 || usage.used.saturating_mul(5) >= usage.capacity.saturating_mul(4)
}

/// What rules asked for since the start.
fn decided(view: &View, status: &Status) -> String {
    if status.decided.is_empty() {
        return String::new();
    }
    let heading = match status.mode {
        Mode::Observe => "WHAT RULES WOULD HAVE DONE SINCE THIS DAEMON STARTED",
        Mode::Enforce => "WHAT RULES DID SINCE THIS DAEMON STARTED",
    };
    let columns = [
        Column::Text("ACTION"),
        Column::Number("TIMES"),
        Column::Number("SOURCES"),
    ];
    let mut table = Table::new(view, &columns);
    for (action, decided) in &status.decided {
        table.row([
            (Tone::of(action.word()), action.word().to_owned()),
            plain(decided.verdicts),
            plain(decided.sources),
        ]);
    }
    format!("\n{heading}\n{}", table.render())
}

/// Addresses that are in danger of being blacklisted, or near it.
fn sending(view: &View, addresses: &[SendingAddress]) -> String {
    let columns = [
        Column::Text("SENDING ADDRESS"),
        Column::Text("RISK"),
        Column::Number("POINTS"),
        Column::Number("REJECTIONS"),
        Column::Number("PROVIDERS' WORDS"),
        Column::Number("LISTINGS"),
    ];
    let mut table = Table::new(view, &columns);
    let mut is_empty = true;
    for address in addresses {
        let tone = match address.level {
            RiskLevel::Calm => continue,
            RiskLevel::Raised => Tone::Warning,
            RiskLevel::Danger => Tone::Grave,
        };
        is_empty = false;
        let points = |points: f64| plain(format!("{points:.1}"));
        let name = address.sent_from.as_deref();
        table.row([
            plain(name.map_or_else(|| "unknown".to_owned(), escape)),
            (tone, address.level.word().to_owned()),
            points(address.risk),
            points(address.rejections),
            points(address.words),
            points(address.listing),
        ]);
    }
    if is_empty {
        return String::new();
    }
    format!("\n{}", table.render())
}

fn render(view: &View, status: &Status) -> String {
    let config = status
        .config
        .as_deref()
        .map_or_else(|| "built-in defaults".to_owned(), escape);
    let found = if status.adopted {
        "found attached and taken over"
    } else {
        "attached by this daemon"
    };
    let mut text = String::new();
    for (name, value) in [
        (
            "daemon",
            format!(
                "{}, pid {}, since {}",
                escape(&status.version),
                status.pid,
                view.time_and_distance(status.started)
            ),
        ),
        ("mode", mode(status.mode).to_owned()),
        (
            "config",
            format!(
                "{config}, loaded {}",
                view.time_and_distance(status.config_loaded)
            ),
        ),
        (
            "guard",
            format!("{found}, pinned at {}", escape(&status.pins)),
        ),
        ("hooks", hooks(&status.hooks)),
        (
            "sources",
            format!("{} of {}", status.sources, status.source_capacity),
        ),
        ("verdicts", status.verdicts.to_string()),
        ("smarthosts", escape(&status.smarthosts.join(", "))),
    ] {
        if value.is_empty() {
            continue;
        }
        text.push_str(&format!("{name:<12}{value}\n"));
    }
    if !status.totals.is_empty() {
        let mut table = Table::new(
            view,
            &[
                Column::Text("CLASS"),
                Column::Number("ATTEMPTS"),
                Column::Number("DENIED"),
                Column::Number("WOULD-DENY"),
                Column::Number("DESTINATIONS"),
            ],
        );
        for (class, totals) in &status.totals {
            table.row([
                plain(view::class(*class)),
                plain(totals.attempts),
                plain(totals.denied),
                plain(totals.would_deny),
                plain(totals.destinations),
            ]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    text.push_str(&decided(view, status));
    text.push_str(&sending(view, &status.sending));
    let counted: Vec<_> = status
        .kernel
        .iter()
        .filter(|(_, count)| **count != 0)
        .collect();
    if !counted.is_empty() {
        let mut table = Table::new(view, &[Column::Text("KERNEL"), Column::Number("COUNT")]);
        for (name, count) in counted {
            table.row([plain(escape(name)), plain(count)]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    let filling: Vec<_> = status
        .tables
        .iter()
        .filter(|(_, usage)| worth_a_look(usage))
        .collect();
    if !filling.is_empty() {
        let mut table = Table::new(
            view,
            &[
                Column::Text("TABLE"),
                Column::Number("USED"),
                Column::Number("ROOM"),
                Column::Number("REFUSED"),
            ],
        );
        for (name, usage) in filling {
            table.row([
                plain(escape(name)),
                plain(usage.used),
                plain(usage.capacity),
                plain(usage.refused),
            ]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    if !status.warnings.is_empty() {
        text.push_str("\nWARNINGS\n");
        for warning in &status.warnings {
            let warning = view.paint(Tone::Warning, &escape(warning));
            text.push_str(&format!("  {warning}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::testing, *};
    use crate::{
        control::api::{ActionName, Decided},
        model::ClassName,
    };

    fn usage(used: u64, capacity: u64, refused: u64) -> TableUse {
        TableUse {
            used,
            capacity,
            refused,
        }
    }

    fn address(
        sent_from: Option<&str>,
        level: RiskLevel,
        [rejections, words, listing]: [f64; 3],
    ) -> SendingAddress {
        SendingAddress {
            sent_from: sent_from.map(str::to_owned),
            level,
            risk: rejections + words + listing,
            rejections,
            words,
            listing,
            listed: listing > 0.0,
        }
    }

    #[test]
    fn the_status_is_told_in_words() {
        let status = Status {
            version: "0.1.0".to_owned(),
            pid: 42,
            started: testing::time(-3_600),
            mode: Mode::Observe,
            config: None,
            config_loaded: testing::time(-60),
            pins: "/sys/fs/bpf/flowguard".to_owned(),
            hooks: vec!["connect4".to_owned(), "edge veth\u{1b}0".to_owned()],
            adopted: true,
            sources: 3,
            source_capacity: 16_384,
            verdicts: 1,
            smarthosts: vec!["192.0.2.25:25".to_owned()],
            totals: BTreeMap::from([(ClassName::Direct, testing::totals(12, 3, 1))]),
            kernel: BTreeMap::from([
                ("events_delivered".to_owned(), 9),
                ("packets_unparsed".to_owned(), 0),
            ]),
            events_received: 9,
            processes: Default::default(),
            tables: BTreeMap::from([
                ("edges".to_owned(), usage(12, 1_024, 0)),
                ("sources".to_owned(), usage(900, 1_000, 0)),
                ("uids".to_owned(), usage(3, 64, 1)),
            ]),
            decided: [(
                ActionName::Block,
                Decided {
                    verdicts: 3,
                    sources: 2,
                },
            )]
            .into(),
            sending: vec![
                address(None, RiskLevel::Raised, [2.34, 3.0, 0.0]),
                address(Some("192.0.2.7"), RiskLevel::Calm, [0.1, 0.0, 0.0]),
                address(Some("2001:db8::/64"), RiskLevel::Danger, [0.5, 12.0, 10.0]),
            ],
            warnings: vec!["no events for an hour".to_owned()],
        };
        assert_eq!(
            render(&testing::view(), &status),
            "\
daemon      0.1.0, pid 42, since 2025-06-15 14:06:40 UTC (1h ago)
mode        observe: only what an operator ordered by hand is refused
config      built-in defaults, loaded 2025-06-15 15:05:40 UTC (1m ago)
guard       found attached and taken over, pinned at /sys/fs/bpf/flowguard
hooks       connect4, edge veth\\u{1b}0
sources     3 of 16384
verdicts    1
smarthosts  192.0.2.25:25

CLASS   ATTEMPTS  DENIED  WOULD-DENY  DESTINATIONS
direct        12       1           0             3

WHAT RULES WOULD HAVE DONE SINCE THIS DAEMON STARTED
ACTION  TIMES  SOURCES
block       3        2

SENDING ADDRESS  RISK    POINTS  REJECTIONS  PROVIDERS' WORDS  LISTINGS
unknown          raised     5.3         2.3               3.0       0.0
2001:db8::/64    danger    22.5         0.5              12.0      10.0

KERNEL            COUNT
events_delivered      9

TABLE    USED  ROOM  REFUSED
sources   900  1000        0
uids        3    64        1

WARNINGS
  no events for an hour
"
        );
    }

    #[test]
    fn many_edges_are_counted() {
        let edges: Vec<_> = (0..6).map(|number| format!("edge veth{number}")).collect();
        assert_eq!(hooks(&edges), "6 edge devices");
        assert_eq!(hooks(&edges[..1]), "edge veth0");
        assert_eq!(hooks(&[]), "none");
    }
}
