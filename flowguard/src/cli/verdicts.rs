//! `flowguard verdicts`: what is in force, and why.

use super::{
    args, audit,
    context::Context,
    exit::Exit,
    reason,
    table::{Column, Table, plain},
    view::{self, Tone, View},
};
use crate::{control::api::VerdictRecord, model::escape};

/// List the verdicts in force
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// List what operators ordered instead, newest first, refused orders included
    #[arg(long)]
    audit: bool,
    #[command(flatten)]
    json: args::Json,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let client = context.client()?;
    if args.audit {
        return audit::run(&client, args.json.json, context);
    }
    let verdicts = context.wait(client.verdicts())??;
    if args.json.json {
        context.output.json(&verdicts)?;
    } else if verdicts.is_empty() {
        context.output.note("No verdict is in force.");
    } else {
        context.output.text(&render(&context.view(), &verdicts))?;
    }
    Ok(Exit::Done)
}

/// Why, in a few words: the rule and the first thing it saw, or who ordered it and their reason.
fn why(verdict: &VerdictRecord) -> String {
    match (&verdict.rule, &verdict.reason) {
        (Some(rule), _) => {
            let seen = verdict.observations.first();
            let seen = seen.map(|seen| format!(": {}", reason::in_short(seen)));
            format!("rule {}{}", escape(rule), seen.unwrap_or_default())
        }
        (None, Some(reason)) => format!("{}: {}", escape(&verdict.by), escape(reason)),
        (None, None) => escape(&verdict.by),
    }
}

/// A table of verdicts.
pub(super) fn render(view: &View, verdicts: &[VerdictRecord]) -> String {
    let mut table = Table::new(
        view,
        &[
            Column::Text("SOURCE"),
            Column::Text("CLASS"),
            Column::Text("VERDICT"),
            Column::Text("SINCE"),
            Column::Text("ENDS"),
            Column::Text("WHY"),
        ],
    );
    for verdict in verdicts {
        let action = verdict.action.word();
        let ends = match (&verdict.ended, verdict.until) {
            (Some(ended), _) => format!("{} (by {})", view.distance(ended.at), escape(&ended.by)),
            (None, Some(until)) => view.distance(until),
            (None, None) => "when lifted".to_owned(),
        };
        table.row([
            plain(escape(&verdict.source)),
            plain(view::class(verdict.class)),
            (Tone::of(action), action.to_owned()),
            plain(view.distance(verdict.since)),
            plain(ends),
            plain(why(verdict)),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use crate::control::api::Ended;

    #[test]
    fn every_verdict_says_why_and_how_long() {
        let by_rule = testing::verdict();
        let by_hand = VerdictRecord {
            rule: None,
            by: "uid:0".to_owned(),
            reason: Some("ticket\n4711".to_owned()),
            until: None,
            ..testing::verdict()
        };
        let lifted = VerdictRecord {
            reason: None,
            ended: Some(Ended {
                at: testing::time(-60),
                by: "uid:0".to_owned(),
            }),
            ..by_hand.clone()
        };
        assert_eq!(
            render(&testing::view(), &[by_rule, by_hand, lifted]),
            "\
SOURCE      CLASS   VERDICT  SINCE   ENDS               WHY
user:alice  direct  block    3m ago  in 57m             rule mass-mailing: 311 destinations in 10m (limit 40)
user:alice  direct  block    3m ago  when lifted        uid:0: ticket\\u{a}4711
user:alice  direct  block    3m ago  1m ago (by uid:0)  uid:0
"
        );
    }
}
