//! `flowguard verdicts --audit`: what operators ordered, and what came of it.

use super::{
    context::Context,
    exit::Exit,
    table::{Column, Table, plain},
    view::{Tone, View},
};
use crate::{
    control::{api::AuditEntry, client::Client},
    model::escape,
};

pub(super) fn run(client: &Client, json: bool, context: &Context) -> anyhow::Result<Exit> {
    let entries = context.wait(client.orders())??;
    if json {
        context.output.json(&entries)?;
    } else if entries.is_empty() {
        context.output.note("Nothing has been ordered.");
    } else {
        context.output.text(&render(&context.view(), &entries))?;
    }
    Ok(Exit::Done)
}

fn render(view: &View, entries: &[AuditEntry]) -> String {
    let mut table = Table::new(
        view,
        &[
            Column::Text("WHEN"),
            Column::Text("WHO"),
            Column::Text("ORDER"),
            Column::Text("SOURCE"),
            Column::Text("WHAT CAME OF IT"),
        ],
    );
    for entry in entries {
        let outcome = match &entry.error {
            Some(error) => (Tone::Warning, format!("refused: {}", escape(error))),
            None => {
                let told = [&entry.detail, &entry.reason];
                let told: Vec<_> = told
                    .into_iter()
                    .flatten()
                    .map(|text| escape(text))
                    .collect();
                plain(if told.is_empty() {
                    "done".to_owned()
                } else {
                    told.join(": ")
                })
            }
        };
        table.row([
            plain(view.time(entry.at)),
            plain(escape(&entry.by)),
            plain(escape(&entry.what)),
            plain(
                entry
                    .source
                    .as_deref()
                    .map_or_else(|| "-".to_owned(), escape),
            ),
            outcome,
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn orders_say_who_and_why_and_names_are_escaped() {
        let done = AuditEntry {
            entry: 2,
            at: testing::time(-60),
            by: "uid:0".to_owned(),
            what: "block".to_owned(),
            source: Some("user:a\u{1b}".to_owned()),
            detail: Some("block, in direct, for 1h".to_owned()),
            reason: Some("ticket\n1".to_owned()),
            error: None,
        };
        let refused = AuditEntry {
            source: None,
            error: Some("uid 33 may not".to_owned()),
            ..done.clone()
        };
        assert_eq!(
            render(&testing::view(), &[done, refused]),
            "\
WHEN                     WHO    ORDER  SOURCE        WHAT CAME OF IT
2025-06-15 15:05:40 UTC  uid:0  block  user:a\\u{1b}  block, in direct, for 1h: ticket\\u{a}1
2025-06-15 15:05:40 UTC  uid:0  block  -             refused: uid 33 may not
"
        );
    }
}
