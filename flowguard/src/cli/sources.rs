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
    let mut columns = vec![
        Column::Text("SOURCE"),
        Column::Number("DIRECT"),
        Column::Number("SUBMISSION"),
        Column::Number("RELAY"),
        Column::Number("DESTINATIONS"),
        Column::Text("LAST"),
        Column::Text("VERDICT"),
    ];
    // Where no table of customers is configured, nobody misses it.
    let customers = sources.iter().any(|source| source.tenant.is_some());
    columns.extend(customers.then_some(Column::Text("CUSTOMER")));
    let mut table = Table::new(view, &columns);
    for source in sources {
        let attempts = |class| {
            plain(
                source
                    .classes
                    .get(&class)
                    .map_or_else(|| "-".to_owned(), |totals| totals.attempts.to_string()),
            )
        };
        let customer = source.tenant.as_ref().map(|tenant| &tenant.customer);
        let customer = customer.map_or_else(|| "-".to_owned(), |customer| escape(customer));
        let mut row = vec![
            plain(escape(&source.source)),
            attempts(ClassName::Direct),
            attempts(ClassName::Submission),
            attempts(ClassName::Relay),
            plain(sum(source).destinations),
            plain(
                source
                    .last_seen
                    .map_or_else(|| "-".to_owned(), |time| view.distance(time)),
            ),
            verdict_cell(source),
        ];
        row.extend(customers.then(|| plain(customer)));
        table.row(row);
    }
    table.render() + &outcomes(view, sources)
}

/// A heading and what stands below it.
type Outcome = (&'static str, fn(&Totals) -> u64);

/// What can come of an attempt, in the order of its life.
const OUTCOMES: [Outcome; 11] = [
    ("DENIED", |totals| totals.denied),
    ("WOULD-DENY", |totals| totals.would_deny),
    ("REDIRECTED", |totals| totals.redirected),
    ("ESTABLISHED", |totals| totals.established),
    ("REFUSED", |totals| totals.refused),
    ("TIMED-OUT", |totals| totals.timed_out),
    ("MESSAGES", |totals| totals.messages),
    ("4XX", |totals| totals.replies.later),
    ("5XX", |totals| totals.replies.never),
    ("TLS", |totals| totals.encrypted),
    ("NO-TLS", |totals| totals.plain),
];

/// A second table, since both in one are too wide for a terminal: those of whom there is something
/// to tell, and the columns in which there is.
fn outcomes(view: &View, sources: &[Source]) -> String {
    let sums: Vec<_> = sources
        .iter()
        .map(|source| (source, sum(source)))
        .filter(|(_, sum)| OUTCOMES.iter().any(|(_, of)| of(sum) > 0))
        .collect();
    if sums.is_empty() {
        return String::new();
    }
    let told: Vec<_> = OUTCOMES
        .iter()
        .filter(|(_, of)| sums.iter().any(|(_, sum)| of(sum) > 0))
        .collect();
    let mut columns = vec![Column::Text("WHAT CAME OF IT")];
    columns.extend(told.iter().map(|(heading, _)| Column::Number(heading)));
    let mut table = Table::new(view, &columns);
    for (source, sum) in &sums {
        let mut row = vec![plain(escape(&source.source))];
        row.extend(told.iter().map(|(_, of)| plain(of(sum))));
        table.row(row);
    }
    format!("\n{}", table.render())
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use crate::model::Replies;

    fn some() -> [Source; 3] {
        let refused = Totals {
            established: 9,
            replies: Replies {
                never: 7,
                ..Replies::default()
            },
            ..testing::totals(9, 1, 0)
        };
        let loud = testing::source(
            "alice",
            &[
                (
                    ClassName::Direct,
                    Totals {
                        established: 60,
                        ..testing::totals(4_120, 311, 120)
                    },
                ),
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
                ..testing::source("b\u{1b}[2Jb", &[(ClassName::Submission, refused)])
            },
            testing::source("carol", &[]),
        ]
    }

    #[test]
    fn the_list_is_aligned_and_safe() {
        assert_eq!(
            render(&testing::view(), &some()),
            "\
SOURCE            DIRECT  SUBMISSION  RELAY  DESTINATIONS  LAST        VERDICT
user:alice          4120           -      2           312  1m 30s ago  block
user:b\\u{1b}[2Jb       -           9      -             1  1m 30s ago  exempt (newsletter)
user:carol             -           -      -             0  -           -

WHAT CAME OF IT   DENIED  ESTABLISHED  5XX
user:alice           120           60    0
user:b\\u{1b}[2Jb       0            9    7
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
