//! `flowguard events`: single attempts, as evidence.

use super::{
    args,
    context::Context,
    exit::Exit,
    identity,
    table::{Column, Table, plain},
    view::{self, Tone, View},
};
use crate::{
    control::{
        api::{Event, FollowLine},
        client::Client,
    },
    model::escape,
};

/// Show the last attempts, or those to come
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show attempts from now on, as they happen; with --json one object a line
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    json: args::Json,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let client = context.client()?;
    if args.follow {
        return context.wait(follow(args, context, &client))?;
    }
    let events = context.wait(client.recent_events())??;
    if args.json.json {
        context.output.json(&events)?;
    } else if events.is_empty() {
        context.output.note("No attempts were seen lately.");
    } else {
        context.output.text(&render(&context.view(), &events))?;
    }
    Ok(Exit::Done)
}

async fn follow(args: &Args, context: &Context, client: &Client) -> anyhow::Result<Exit> {
    let view = context.view();
    let mut stream = client.follow().await?;
    loop {
        let next = stream.next().await?;
        match &next {
            _ if args.json.json => context.output.json_line(&next)?,
            FollowLine::Event(event) => context.output.text(&line(&view, event))?,
            FollowLine::Missed { missed } => context
                .output
                .note(&format!("{missed} attempts came too fast to be shown")),
        }
    }
}

fn process(event: &Event) -> String {
    event.process.as_ref().map_or_else(
        || "-".to_owned(),
        |process| {
            format!(
                "{} (pid {}, uid {}){}",
                escape(&process.comm),
                process.pid,
                process.uid,
                identity::behind(&process.details)
            )
        },
    )
}

fn render(view: &View, events: &[Event]) -> String {
    let mut table = Table::new(
        view,
        &[
            Column::Text("TIME"),
            Column::Text("DECISION"),
            Column::Text("SOURCE"),
            Column::Text("CLASS"),
            Column::Text("DESTINATION"),
            Column::Text("PROCESS"),
        ],
    );
    for event in events {
        table.row([
            plain(view.time(event.time)),
            (Tone::of(&event.decision), escape(&event.decision)),
            plain(escape(&event.source)),
            plain(view::class(event.class)),
            plain(view::destination(event)),
            plain(process(event)),
        ]);
    }
    table.render()
}

/// One event by itself, in columns wide enough for most.
fn line(view: &View, event: &Event) -> String {
    let decision = view.paint(
        Tone::of(&event.decision),
        &format!("{:<10}", escape(&event.decision)),
    );
    format!(
        "{}  {decision}  {:<24}  {:<10}  {:<24}  {}\n",
        view.time(event.time),
        escape(&event.source),
        view::class(event.class),
        view::destination(event),
        process(event)
    )
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn events_are_shown_in_columns() {
        let events = [
            testing::event(-2, 1, Some("php\u{7}")),
            testing::event(-1, 200, None),
        ];
        assert_eq!(
            render(&testing::view(), &events),
            "\
TIME                     DECISION  SOURCE      CLASS   DESTINATION     PROCESS
2025-06-15 15:06:38 UTC  deny      user:alice  direct  192.0.2.1:25    php\\u{7} (pid 4711, uid 1001)
2025-06-15 15:06:39 UTC  deny      user:alice  direct  192.0.2.200:25  -
"
        );
        assert_eq!(
            line(&testing::view(), &events[0]),
            "2025-06-15 15:06:38 UTC  deny        user:alice                direct      192.0.2.1:25              php\\u{7} (pid 4711, uid 1001)\n"
        );
    }
}
