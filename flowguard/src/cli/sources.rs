//! `flowguard sources`: who did how much.

use super::{
    args,
    context::Context,
    exit::Exit,
    table::{Column, Table, plain},
    view::{Tone, View},
};
use crate::{
    config::Config,
    control::api::Source,
    kernel::{KernelError, offline},
    model::{ClassName, Totals, escape},
};

/// List the sources, and how much each of them tried
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also those that never tried anything
    #[arg(long)]
    all: bool,
    /// Read the pinned maps, without the daemon; needs root
    #[arg(long)]
    offline: bool,
    /// Order of the list
    #[arg(long, value_enum, default_value_t = Sort::Attempts)]
    sort: Sort,
    #[command(flatten)]
    json: args::Json,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Sort {
    /// Most attempts first
    Attempts,
    /// By name
    Name,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let mut sources = if args.offline {
        pinned(&context.config()?)?
    } else {
        let client = context.client()?;
        context.wait(client.sources())??
    };
    sources.retain(|source| args.all || !is_silent(source));
    match args.sort {
        Sort::Attempts => sources.sort_by_cached_key(|source| {
            (
                std::cmp::Reverse(sum(source).attempts),
                source.source.clone(),
            )
        }),
        Sort::Name => sources.sort_by(|a, b| a.source.cmp(&b.source)),
    }
    if args.json.json {
        context.output.json(&sources)?;
    } else if sources.is_empty() {
        context.output.note(
            "No source has tried to send mail since the guard was first attached (--all lists silent ones as well).",
        );
    } else {
        context.output.text(&render(&context.view(), &sources))?;
    }
    Ok(Exit::Done)
}

fn pinned(config: &Config) -> Result<Vec<Source>, KernelError> {
    offline::sources(&config.paths.pins)
}

/// Never tried anything, and nothing is in force about it.
pub(super) fn is_silent(source: &Source) -> bool {
    sum(source).attempts == 0 && source.verdict.is_none()
}

/// All classes together.
pub(super) fn sum(source: &Source) -> Totals {
    source
        .classes
        .values()
        .fold(Totals::default(), |mut sum, class| {
            sum += *class;
            sum
        })
}

/// The verdict in force, or why none will be.
pub(super) fn verdict_cell(source: &Source) -> (Tone, String) {
    match (&source.verdict, &source.exempt) {
        (Some(verdict), _) => (Tone::of(verdict), escape(verdict)),
        (None, Some(rule)) => plain(format!("exempt ({})", escape(rule))),
        (None, None) => plain("-"),
    }
}

fn render(view: &View, sources: &[Source]) -> String {
    let mut table = Table::new(
        view,
        &[
            Column::Text("SOURCE"),
            Column::Number("DIRECT"),
            Column::Number("SUBMISSION"),
            Column::Number("RELAY"),
            Column::Number("DESTINATIONS"),
            Column::Number("DENIED"),
            Column::Number("WOULD-DENY"),
            Column::Text("LAST"),
            Column::Text("VERDICT"),
        ],
    );
    for source in sources {
        let attempts = |class| {
            plain(
                source
                    .classes
                    .get(&class)
                    .map_or_else(|| "-".to_owned(), |totals| totals.attempts.to_string()),
            )
        };
        let sum = sum(source);
        table.row([
            plain(escape(&source.source)),
            attempts(ClassName::Direct),
            attempts(ClassName::Submission),
            attempts(ClassName::Relay),
            plain(sum.destinations),
            plain(sum.denied),
            plain(sum.would_deny),
            plain(
                source
                    .last_seen
                    .map_or_else(|| "-".to_owned(), |time| view.distance(time)),
            ),
            verdict_cell(source),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    fn some() -> [Source; 3] {
        let loud = testing::source(
            "alice",
            &[
                (ClassName::Direct, testing::totals(4_120, 311, 120)),
                (ClassName::Relay, testing::totals(2, 1, 0)),
            ],
        );
        [
            Source {
                verdict: Some("block".to_owned()),
                ..loud
            },
            Source {
                exempt: Some("newsletter".to_owned()),
                ..testing::source(
                    "b\u{1b}[2Jb",
                    &[(ClassName::Submission, testing::totals(9, 1, 0))],
                )
            },
            testing::source("carol", &[]),
        ]
    }

    #[test]
    fn the_list_is_aligned_and_safe() {
        assert_eq!(
            render(&testing::view(), &some()),
            "\
SOURCE            DIRECT  SUBMISSION  RELAY  DESTINATIONS  DENIED  WOULD-DENY  LAST        VERDICT
user:alice          4120           -      2           312     120           0  1m 30s ago  block
user:b\\u{1b}[2Jb       -           9      -             1       0           0  1m 30s ago  exempt (newsletter)
user:carol             -           -      -             0       0           0  -           -
"
        );
    }

    #[test]
    fn colours_do_not_disturb_the_columns() {
        let view = View {
            color: true,
            ..testing::view()
        };
        let text = render(&view, &some());
        assert!(text.contains("\u{1b}[38;5;1mblock"), "{text:?}");
        let column = |line: &str| line.find("1m 30s ago");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(column(lines[1]), column(lines[2]));
    }

    #[test]
    fn a_source_is_silent_unless_it_tried_or_was_judged() {
        let [loud, _, silent] = some();
        assert!(!is_silent(&loud));
        assert!(is_silent(&silent));
        let judged = Source {
            verdict: Some("allow".to_owned()),
            ..silent
        };
        assert!(!is_silent(&judged));
    }
}
