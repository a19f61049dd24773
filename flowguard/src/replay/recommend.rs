//! Limits out of what sources do: above what nearly all of them ever did.

use std::collections::{BTreeMap, VecDeque};

use flowguard_common::fanout::FANOUT_BITS;

use crate::{
    config::Config,
    control::api::{Measured, Recommendation},
    model::{ClassName, SourceName},
    store::{Activity, Reader, StoreError},
};

/// Windows that are looked at, seconds.
const WINDOWS: [i64; 3] = [300, 3_600, 86_400];

/// What a limit is above: the most of nearly all sources, and half of it on top.
const MARGIN: (u64, u64) = (3, 2);

/// Fewer servers than this a limit never asks for: a small mail server talks to about 15 in ten
/// minutes.
const FEWEST: u64 = 20;

/// More first contacts than these cannot be told from fewer: see `rule.when` in the configuration.
const MOST: u64 = FANOUT_BITS as u64 / 2;

/// What is measured.
const ATTEMPTS: usize = 0;
const DESTINATIONS: usize = 1;
const NAMES: [&str; 2] = ["attempts", "destinations"];

/// Sums within a window that moves.
#[derive(Debug, Default)]
struct Window {
    parts: VecDeque<(i64, [u64; 2])>,
    sum: [u64; 2],
    peak: [u64; 2],
}

impl Window {
    fn note(&mut self, length: i64, end: i64, more: [u64; 2]) {
        while let Some((_, gone)) = self.parts.pop_front_if(|(at, _)| *at <= end - length) {
            for (sum, gone) in self.sum.iter_mut().zip(gone) {
                *sum = sum.saturating_sub(gone);
            }
        }
        self.parts.push_back((end, more));
        for ((sum, peak), more) in self.sum.iter_mut().zip(&mut self.peak).zip(more) {
            *sum = sum.saturating_add(more);
            *peak = (*peak).max(*sum);
        }
    }
}

/// The most that each source did within windows, by its package and class.
#[derive(Debug, Default)]
pub struct Peaks {
    windows: BTreeMap<(String, ClassName), (Option<String>, [Window; WINDOWS.len()])>,
}

impl Peaks {
    /// Looks at the history since then, seconds since 1970. Whom the configuration exempts is left
    /// out, and what goes to relays.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub fn of(reader: &Reader, since: i64, config: &Config) -> Result<Self, StoreError> {
        let mut peaks = Self::default();
        reader.spans(since, |span| -> Result<(), StoreError> {
            let is_judged = |activity: &&Activity| {
                activity.class != ClassName::Relay
                    && SourceName::parse(&activity.source)
                        .is_some_and(|name| config.exempt(&name).is_none())
            };
            for activity in span.activity.iter().filter(is_judged) {
                peaks.note(span.at, span.seconds, activity);
            }
            Ok(())
        })?;
        Ok(peaks)
    }

    fn note(&mut self, at: i64, seconds: i64, activity: &Activity) {
        let key = (activity.source.clone(), activity.class);
        let (package, windows) = self.windows.entry(key).or_default();
        if activity.package.is_some() {
            package.clone_from(&activity.package);
        }
        let done = [activity.totals.attempts, activity.totals.destinations];
        for (window, length) in windows.iter_mut().zip(WINDOWS) {
            // An hour has at least this much in one of its windows.
            let parts = u64::try_from((seconds / length).max(1)).unwrap_or(1);
            let end = at.saturating_add(seconds);
            window.note(length, end, done.map(|done| done.div_ceil(parts)));
        }
    }

    /// Peaks of one class, one window and one measure, of one package or of all sources; in order.
    fn sorted(
        &self,
        package: Option<&str>,
        class: ClassName,
        window: usize,
        what: usize,
    ) -> Vec<u64> {
        let fits = |((_, of), (has, _)): &(&(String, ClassName), &(Option<String>, _))| {
            *of == class && package.is_none_or(|package| has.as_deref() == Some(package))
        };
        let mut peaks: Vec<u64> = self
            .windows
            .iter()
            .filter(fits)
            .map(|(_, (_, windows))| windows[window].peak[what])
            .collect();
        peaks.sort_unstable();
        peaks
    }

    fn packages(&self) -> Vec<&str> {
        let known = self.windows.values();
        let mut packages: Vec<_> = known
            .filter_map(|(package, _)| package.as_deref())
            .collect();
        packages.sort_unstable();
        packages.dedup();
        packages
    }
}

/// Proposes limits for one package, or for all there are and for everybody.
pub fn recommend(peaks: &Peaks, package: Option<&str>) -> Recommendation {
    let mut groups: Vec<Option<&str>> = vec![package];
    if package.is_none() {
        groups.extend(peaks.packages().into_iter().map(Some));
    }
    let mut measured = Vec::new();
    for group in groups {
        for class in [ClassName::Direct, ClassName::Submission] {
            for (window, seconds) in WINDOWS.into_iter().enumerate() {
                for what in [ATTEMPTS, DESTINATIONS] {
                    let sorted = peaks.sorted(group, class, window, what);
                    measured.extend(measure(group, class, seconds, what, &sorted));
                }
            }
        }
    }
    let rules = measured.iter().filter_map(rule);
    Recommendation {
        toml: rules.collect::<Vec<_>>().join("\n"),
        measured,
    }
}

fn measure(
    package: Option<&str>,
    class: ClassName,
    window: i64,
    what: usize,
    sorted: &[u64],
) -> Option<Measured> {
    // In tenths of a per cent; the nearest rank.
    let percentile = |permille: usize| {
        let rank = (sorted.len() * permille).div_ceil(1_000).max(1);
        sorted.get(rank - 1).copied()
    };
    let p999 = percentile(999)?;
    // A rate alone is never to stop anybody.
    let limit = (what == DESTINATIONS)
        .then(|| rounded(p999.saturating_mul(MARGIN.0).div_ceil(MARGIN.1)).max(FEWEST))
        .filter(|limit| *limit <= MOST);
    let reaches = |limit: u64| sorted.iter().filter(|peak| **peak >= limit).count() as u64;
    Some(Measured {
        package: package.map(str::to_owned),
        class,
        what: NAMES[what].to_owned(),
        window_seconds: window.unsigned_abs(),
        sources: sorted.len() as u64,
        p50: percentile(500)?,
        p99: percentile(990)?,
        p999,
        limit,
        touches: limit.map(reaches),
    })
}

/// Up to the next number with two digits and zeros.
fn rounded(number: u64) -> u64 {
    let mut unit = 1_u64;
    while number / unit >= 100 {
        unit = unit.saturating_mul(10);
    }
    number.div_ceil(unit).saturating_mul(unit)
}

/// A rule with the limit; none: no limit is proposed.
fn rule(measured: &Measured) -> Option<String> {
    let limit = measured.limit?;
    let class = flowguard_common::class::Class::from(measured.class).name();
    let window =
        humantime::format_duration(std::time::Duration::from_secs(measured.window_seconds));
    let window = window.to_string().replace("1day", "1d");
    let (suffix, packages) = match &measured.package {
        Some(package) => {
            let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
            let suffix: String = package.chars().take(24).map(plain).collect();
            let list = toml::Value::Array(vec![toml::Value::String(package.clone())]);
            (format!("-{suffix}"), format!("packages = {list}\n"))
        }
        None => (String::new(), String::new()),
    };
    Some(format!(
        "# Touches {} of {} sources; half did at most {}, 99 % at most {}, 99.9 % at most {}.\n\
         [[rule]]\nname = \"recommended-{class}-{window}{suffix}\"\nsources = [\"*\"]\n{packages}\
         class = \"{class}\"\nwhen = [{{ within = \"{window}\", what = \"destinations\", \
         at_least = {limit} }}]\naction = \"new-destinations\"\n\
         limit = {{ burst = 10, rate = 10, per = \"1h\" }}\nfor = \"1h\"\n",
        measured.touches.unwrap_or(0),
        measured.sources,
        measured.p50,
        measured.p99,
        measured.p999,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Totals;

    fn activity(source: u64, package: Option<&str>, destinations: u64) -> Activity {
        Activity {
            source: format!("user:{source}"),
            package: package.map(str::to_owned),
            class: ClassName::Direct,
            totals: Totals {
                attempts: destinations * 2,
                destinations,
                ..Totals::default()
            },
            knows_plain: true,
        }
    }

    fn found<'r>(all: &'r Recommendation, window: u64, package: Option<&str>) -> &'r Measured {
        let fits = |measured: &&Measured| {
            measured.what == "destinations"
                && measured.window_seconds == window
                && measured.package.as_deref() == package
        };
        all.measured.iter().find(fits).unwrap()
    }

    #[test]
    fn limits_stand_above_what_nearly_all_did_and_say_whom_they_touch() {
        let mut peaks = Peaks::default();
        for source in 0..2_000 {
            // Twice in an hour, and not within five minutes.
            for at in [0, 1_800] {
                let done = if source == 0 { 300 } else { source % 20 + 1 };
                let package = (source % 2 == 0).then_some("big \"one\"\n");
                peaks.note(at, 60, &activity(source, package, done));
            }
        }
        let all = recommend(&peaks, None);
        let short = found(&all, 300, None);
        assert_eq!((short.p50, short.p99, short.p999), (11, 20, 20));
        assert_eq!((short.limit, short.touches), (Some(30), Some(1)));
        let long = found(&all, 3_600, None);
        assert_eq!((long.p999, long.limit), (40, Some(60)));
        let package = found(&all, 300, Some("big \"one\"\n"));
        assert_eq!(package.sources, 1_000);
        let config = Config::parse(&all.toml, None).unwrap();
        assert_eq!(config.judgement.rules.len(), 6);
        assert!(
            config
                .judgement
                .rules
                .iter()
                .any(|rule| rule.packages == ["big \"one\"\n"])
        );
    }

    #[test]
    fn without_history_nothing_is_recommended() {
        let none = recommend(&Peaks::default(), None);
        assert_eq!((none.measured.len(), &*none.toml), (0, ""));
    }

    #[test]
    fn an_hour_counts_as_if_it_were_spread_evenly() {
        let mut peaks = Peaks::default();
        peaks.note(0, 3_600, &activity(1, None, 120));
        let all = recommend(&peaks, None);
        assert_eq!(found(&all, 300, None).p50, 10);
        assert_eq!(found(&all, 3_600, None).p50, 120);
    }
}
