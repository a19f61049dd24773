//! How times, spans and grave words look.

use std::net::SocketAddr;

use anstyle::{AnsiColor, Style};
use jiff::{Timestamp, tz::TimeZone};

use crate::control::api;

/// What rendering depends on besides the data, so that tests can fix it.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Whether colours are wanted.
    pub(super) color: bool,
    /// What time it is.
    pub(super) now: Timestamp,
    /// In whose local time.
    pub(super) zone: TimeZone,
}

/// How a word is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As any other.
    Plain,
    /// All is well.
    Good,
    /// Worth a look.
    Warning,
    /// Something is stopped or broken.
    Grave,
}

impl Tone {
    /// Of a verdict's action or an event's decision.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "block" | "deny" => Self::Grave,
            "limit" | "would-deny" => Self::Warning,
            "allow" => Self::Good,
            _ => Self::Plain,
        }
    }

    /// The terminal's colour for it.
    pub(super) const fn color(self) -> Option<AnsiColor> {
        match self {
            Self::Plain => None,
            Self::Good => Some(AnsiColor::Green),
            Self::Warning => Some(AnsiColor::Yellow),
            Self::Grave => Some(AnsiColor::Red),
        }
    }
}

impl View {
    /// Now, in local time.
    pub(super) fn now(color: bool) -> Self {
        Self {
            color,
            now: Timestamp::now(),
            zone: TimeZone::system(),
        }
    }

    /// Colours a text if colours are wanted.
    pub(super) fn paint(&self, tone: Tone, text: &str) -> String {
        match tone.color().filter(|_| self.color) {
            Some(color) => {
                let style = Style::new().fg_color(Some(color.into()));
                format!("{style}{text}{style:#}")
            }
            None => text.to_owned(),
        }
    }

    /// `2025-06-15 15:06:40 UTC`.
    pub(super) fn time(&self, time: Timestamp) -> String {
        time.to_zoned_datetime(self.zone.clone())
            .strftime("%Y-%m-%d %H:%M:%S %Z")
            .to_string()
    }

    /// `3m ago`, `in 3m`.
    pub(super) fn distance(&self, time: Timestamp) -> String {
        let seconds = time.as_second() - self.now.as_second();
        match seconds {
            0 => "now".to_owned(),
            1.. => format!("in {}", span(seconds.unsigned_abs())),
            _ => format!("{} ago", span(seconds.unsigned_abs())),
        }
    }

    /// `2025-06-15 15:06:40 UTC (3m ago)`.
    pub(super) fn time_and_distance(&self, time: Timestamp) -> String {
        format!("{} ({})", self.time(time), self.distance(time))
    }
}

/// `45s`, `10m`, `1h 30m`, `7d 2h`: the two largest units.
pub(super) fn span(seconds: u64) -> String {
    let parts: Vec<_> = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ]
    .into_iter()
    .skip_while(|(count, _)| *count == 0)
    .take(2)
    .filter(|(count, _)| *count != 0)
    .map(|(count, unit)| format!("{count}{unit}"))
    .collect();
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.join(" ")
    }
}

/// `192.0.2.1:25`, `[2001:db8::1]:25`.
pub(super) fn destination(event: &api::Event) -> String {
    SocketAddr::new(event.dst, event.dport).to_string()
}

/// The word for an action.
pub(super) const fn action(action: api::ActionName) -> &'static str {
    match action {
        api::ActionName::Allow => "allow",
        api::ActionName::Limit => "limit",
        api::ActionName::Block => "block",
    }
}

/// The word for a class.
pub(super) fn class(class: crate::model::ClassName) -> &'static str {
    flowguard_common::class::Class::from(class).name()
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn spans_have_two_units_at_most() {
        for (seconds, expected) in [
            (0, "0s"),
            (45, "45s"),
            (600, "10m"),
            (605, "10m 5s"),
            (3_605, "1h"),
            (5_400, "1h 30m"),
            (612_000, "7d 2h"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn times_tell_their_zone_and_their_distance() {
        let view = testing::view();
        assert_eq!(
            view.time_and_distance(testing::time(-200)),
            "2025-06-15 15:03:20 UTC (3m 20s ago)"
        );
        assert_eq!(view.distance(testing::time(3_600)), "in 1h");
        assert_eq!(view.distance(view.now), "now");
    }

    #[test]
    fn colours_appear_where_they_are_wanted() {
        let plain = testing::view();
        assert_eq!(plain.paint(Tone::Grave, "block"), "block");
        let color = View {
            color: true,
            ..plain
        };
        assert_eq!(
            color.paint(Tone::Grave, "block"),
            "\u{1b}[31mblock\u{1b}[0m"
        );
        assert_eq!(color.paint(Tone::Plain, "-"), "-");
    }
}
