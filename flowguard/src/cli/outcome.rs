//! What came of the attempts, and what mail servers said, in words that can be forwarded.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    table::{Column, Table, plain},
    view::{self, View},
};
use crate::{
    control::api::Reply,
    model::{ClassName, Totals, escape},
};

/// Replies that are listed, at most.
const LISTED: usize = 10;
/// Columns that a text is wrapped to: those of a VT100, and of most mail programs.
const WIDTH: u16 = 80;

/// By class, and only what was seen.
pub(super) fn of_classes(classes: &BTreeMap<ClassName, Totals>) -> String {
    let mut text = String::new();
    for (class, totals) in classes {
        let lines = lines(totals);
        if lines.is_empty() {
            continue;
        }
        text.push_str(&format!("\nWHAT CAME OF IT: {}\n", view::class(*class)));
        for (name, value) in lines {
            text.push_str(&format!("  {name:<14}{value}\n"));
        }
    }
    text
}

fn lines(totals: &Totals) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    for (name, count, meaning) in [
        ("established", totals.established, "the server accepted"),
        ("refused", totals.refused, "the server refused"),
        ("timed out", totals.timed_out, "no server answered"),
        ("redirected", totals.redirected, "sent to the smarthost"),
    ] {
        if count > 0 {
            lines.push((name, format!("{count} ({meaning})")));
        }
    }
    if totals.messages > 0 {
        let messages = format!("{} that a server was ready to take", totals.messages);
        lines.push(("messages", messages));
    }
    let replies: Vec<_> = [
        (totals.replies.ok, "2xx (done)"),
        (totals.replies.more, "3xx (go on)"),
        (totals.replies.later, "4xx (not now)"),
        (totals.replies.never, "5xx (no)"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} × {what}"))
    .collect();
    if !replies.is_empty() {
        lines.push(("replies", replies.join(", ")));
    }
    if totals.bytes > 0 {
        lines.push(("sent", view::bytes(totals.bytes)));
    }
    if totals.open_ms > 0 {
        let open = view::span(totals.open_ms.div_ceil(1_000));
        lines.push(("open for", format!("{open} in all, those that ended")));
    }
    if totals.plain > 0 {
        let (some, all) = (totals.plain, totals.established);
        let connections = format!("{some} of {all} connections went on without TLS");
        lines.push(("in the clear", connections));
    }
    if totals.encrypted > 0 {
        let (some, all) = (totals.encrypted, totals.established);
        let connections = format!("{some} of {all} connections turned to TLS:");
        lines.push(("unreadable", connections));
        lines.push(("", "bytes and duration are all that is known".to_owned()));
    }
    lines
}

/// The address that a server saw; where nobody knows, the one that it is made from.
fn sent_from(reply: &Reply) -> String {
    match (reply.sent_from, reply.client) {
        (Some(address), _) => address.to_string(),
        (None, Some(client)) => format!("unknown ({client})"),
        (None, None) => "unknown".to_owned(),
    }
}

/// Replies that said no, each once, the last first.
pub(super) fn replies(view: &View, replies: &[Reply]) -> String {
    let mut distinct: Vec<(&Reply, u64)> = Vec::new();
    for reply in replies {
        let same = |(other, _): &&mut (&Reply, u64)| {
            let key = |reply: &&Reply| (reply.server, reply.port, reply.sent_from, reply.client);
            key(other) == key(&reply) && other.text == reply.text
        };
        match distinct.iter_mut().find(same) {
            Some((_, seen)) => *seen += 1,
            None => distinct.push((reply, 1)),
        }
    }
    if distinct.is_empty() {
        return String::new();
    }
    let columns = [
        Column::Text("SERVER"),
        Column::Number("SEEN"),
        Column::Text("LAST"),
        Column::Text("SENT FROM"),
        Column::Text("WHAT IT SAID"),
    ];
    let mut table = Table::new(view, &columns);
    for (reply, seen) in distinct.iter().take(LISTED) {
        table.row([
            plain(SocketAddr::new(reply.server, reply.port)),
            plain(seen),
            plain(view.distance(reply.time)),
            plain(sent_from(reply)),
            plain(escape(&reply.text)),
        ]);
    }
    table.wrap(WIDTH);
    let mut text = format!(
        "\nREPLIES THAT SAID NO (the last {} on record)\n{}",
        replies.len(),
        table.render()
    );
    if distinct.len() > LISTED {
        text.push_str(&format!("and {} more\n", distinct.len() - LISTED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};
    use crate::model::Replies;

    fn totals() -> Totals {
        Totals {
            established: 4_000,
            refused: 30,
            timed_out: 60,
            redirected: 5,
            bytes: 1_300_000,
            replies: Replies {
                ok: 12_310,
                more: 120,
                later: 44,
                never: 12,
            },
            messages: 120,
            encrypted: 80,
            plain: 75,
            open_ms: 3_725_400,
            ..testing::totals(4_120, 311, 30)
        }
    }

    fn reply(offset: i64, text: &str) -> Reply {
        Reply {
            time: testing::time(offset),
            class: ClassName::Direct,
            server: [192, 0, 2, 1].into(),
            port: 25,
            client: Some([10, 0, 0, 5].into()),
            sent_from: Some([203, 0, 113, 7].into()),
            text: text.to_owned(),
        }
    }

    #[test]
    fn outcomes_are_told_in_words_and_in_eighty_columns() {
        let classes = BTreeMap::from([
            (ClassName::Direct, totals()),
            (ClassName::Relay, testing::totals(3, 1, 0)),
        ]);
        let text = of_classes(&classes);
        assert_eq!(
            text,
            "
WHAT CAME OF IT: direct
  established   4000 (the server accepted)
  refused       30 (the server refused)
  timed out     60 (no server answered)
  redirected    5 (sent to the smarthost)
  messages      120 that a server was ready to take
  replies       12310 × 2xx (done), 120 × 3xx (go on), 44 × 4xx (not now), 12 × 5xx (no)
  sent          1.2 MiB
  open for      1h 2m in all, those that ended
  in the clear  75 of 4000 connections went on without TLS
  unreadable    80 of 4000 connections turned to TLS:
                bytes and duration are all that is known
"
        );
    }

    #[test]
    fn replies_are_told_once_and_wrapped() {
        let listed = "550 5.7.1 Service unavailable; client [203.0.113.7] blocked using an \
                      example list, write to \u{1b}[2J…@example.org";
        let replies_seen = [
            reply(-5, listed),
            reply(-7, "450 4.7.1 Greylisted"),
            Reply {
                sent_from: None,
                ..reply(-8, "450 4.7.1 Greylisted")
            },
            reply(-9, listed),
        ];
        let text = replies(&testing::view(), &replies_seen);
        assert_eq!(
            text,
            "
REPLIES THAT SAID NO (the last 4 on record)
SERVER        SEEN  LAST    SENT FROM           WHAT IT SAID
192.0.2.1:25     2  5s ago  203.0.113.7         550 5.7.1 Service unavailable;
                                                client [203.0.113.7] blocked
                                                using an example list, write
                                                to \\u{1b}[2J…@example.org
192.0.2.1:25     1  7s ago  203.0.113.7         450 4.7.1 Greylisted
192.0.2.1:25     1  8s ago  unknown (10.0.0.5)  450 4.7.1 Greylisted
"
        );
        assert_eq!(replies(&testing::view(), &[]), "");
    }
}
