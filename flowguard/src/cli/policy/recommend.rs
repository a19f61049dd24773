//! `flowguard policy recommend`: limits out of what sources do.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;

use super::super::{
    args,
    context::Context,
    exit::Exit,
    table::{Column, Table, plain},
    view::{self, View},
};
use crate::{
    control::api::{Measured, Recommendation},
    model::escape,
    replay::{Peaks, recommend},
    store::Reader,
};

/// Propose limits from what sources did, as rules for the configuration file
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How far back to look
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = args::duration)]
    since: Duration,
    /// Only for sources of this hosting package
    #[arg(long, value_name = "NAME")]
    package: Option<String>,
    #[command(flatten)]
    json: args::Json,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let config = context.config()?;
    let state = &config.paths.state;
    let reader = Reader::open(state).with_context(|| {
        format!(
            "the history in {} cannot be read; it takes root",
            state.display()
        )
    })?;
    let since = i64::try_from(args.since.as_secs()).unwrap_or(i64::MAX);
    let since = Timestamp::now().as_second().saturating_sub(since);
    let peaks = Peaks::of(&reader, since, &config)?;
    let recommended = recommend(&peaks, args.package.as_deref());
    if args.json.json {
        context.output.json(&recommended)?;
    } else if recommended.measured.is_empty() {
        context
            .output
            .note("There is no history of such sources yet: nothing can be recommended.");
    } else {
        context
            .output
            .text(&render(&context.view(), &recommended))?;
    }
    Ok(Exit::Done)
}

/// The table as a comment, so that all of it can be written into a file.
fn render(view: &View, recommended: &Recommendation) -> String {
    let mut table = Table::new(
        &View {
            color: false,
            ..view.clone()
        },
        &[
            Column::Text("PACKAGE"),
            Column::Text("CLASS"),
            Column::Text("WITHIN"),
            Column::Text("WHAT"),
            Column::Number("SOURCES"),
            Column::Number("P50"),
            Column::Number("P99"),
            Column::Number("P99.9"),
            Column::Number("LIMIT"),
            Column::Number("TOUCHES"),
        ],
    );
    let or_dash = |number: Option<u64>| {
        plain(number.map_or_else(|| "-".to_owned(), |number| number.to_string()))
    };
    for Measured {
        package,
        class,
        what,
        window_seconds,
        sources,
        p50,
        p99,
        p999,
        limit,
        touches,
    } in &recommended.measured
    {
        table.row([
            plain(
                package
                    .as_deref()
                    .map_or_else(|| "(all)".to_owned(), escape),
            ),
            plain(view::class(*class)),
            plain(view::span(*window_seconds)),
            plain(what),
            plain(sources),
            plain(p50),
            plain(p99),
            plain(p999),
            or_dash(*limit),
            or_dash(*touches),
        ]);
    }
    let mut text = String::new();
    for line in table.render().lines() {
        text.push_str(&format!("# {line}\n"));
    }
    text.push('\n');
    text.push_str(&recommended.toml);
    text
}

#[cfg(test)]
mod tests {
    use super::{super::super::testing, *};
    use crate::{config::Config, model::ClassName};

    #[test]
    fn what_is_printed_is_a_configuration() {
        let measured = Measured {
            package: Some("a\u{1b}\nb".to_owned()),
            class: ClassName::Direct,
            what: "destinations".to_owned(),
            window_seconds: 300,
            sources: 9,
            p50: 1,
            p99: 2,
            p999: 3,
            limit: Some(20),
            touches: Some(0),
        };
        let printed = render(
            &testing::view(),
            &Recommendation {
                measured: vec![measured],
                toml: "rule = []\n".to_owned(),
            },
        );
        assert_eq!(
            printed,
            "\
# PACKAGE        CLASS   WITHIN  WHAT          SOURCES  P50  P99  P99.9  LIMIT  TOUCHES
# a\\u{1b}\\u{a}b  direct  5m      destinations        9    1    2      3     20        0

rule = []
"
        );
        assert!(Config::parse(&printed, None).is_ok());
    }
}
