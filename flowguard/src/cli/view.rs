//! How times, spans and grave words look.

use std::{net::SocketAddr, time::Duration};

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
            "sever" | "block" | "deny" => Self::Grave,
            "redirect" | "limit" | "new-destinations" | "would-deny" => Self::Warning,
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

/// `10 at once and then one every 6m`.
pub(super) fn rate(limit: api::Limit) -> String {
    let interval = Duration::from_nanos(limit.interval_ns);
    let every = if interval.subsec_nanos() == 0 {
        span(interval.as_secs())
    } else {
        humantime::format_duration(interval).to_string()
    };
    format!("{} at once and then one every {every}", limit.burst)
}

/// `817 bytes`, `1.2 MiB`: three digits at least, and a little less than it is rather than more.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
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
    fn amounts_and_rates_are_readable() {
        for (amount, expected) in [
            (1_023, "1023 bytes"),
            (1_024, "1.0 KiB"),
            (1_048_575, "1023.9 KiB"),
            (1_300_000, "1.2 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(bytes(amount), expected);
        }
        for (interval_ns, expected) in [
            (360_000_000_000, "3 at once and then one every 6m"),
            (1_500_000_000, "3 at once and then one every 1s 500ms"),
        ] {
            let limit = api::Limit {
                burst: 3,
                interval_ns,
            };
            assert_eq!(rate(limit), expected);
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
