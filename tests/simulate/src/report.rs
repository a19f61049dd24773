//! What a policy did to whom, over several populations, and whether that is what was promised.

use std::collections::BTreeMap;

use comfy_table::{Table, presets::ASCII_MARKDOWN};

use crate::{
    fate::{Fate, Rung},
    flow::DAY,
    kinds::Kind,
    mail::Millis,
};

/// Fast ones are stopped within so many connections: half of them, and 99 of 100.
const MEDIAN: u64 = 20;
const P99: u64 = 60;
/// So many slow ones of a hundred are stopped within a day.
const SLOW: f64 = 95.0;
/// One honest tenant in so many may be slowed.
const SLOWED: usize = 1_000;

/// All that happened to the tenants of one kind.
#[derive(Debug, Default)]
struct Row {
    tenants: usize,
    /// By the gravest thing that was done.
    rungs: BTreeMap<Rung, usize>,
    rules: BTreeMap<String, usize>,
    /// Of those that were stopped: direct connections until then, or submissions of those who make
    /// no others; of those that were not, more than any number.
    until_stopped: Vec<u64>,
    /// The same, of all classes.
    until_stopped_all: Vec<u64>,
    stopped_within_a_day: usize,
}

impl Row {
    fn take(&mut self, fate: &Fate) {
        self.tenants += 1;
        if let Some(rung) = fate.rung {
            *self.rungs.entry(rung).or_default() += 1;
        }
        if let Some(rule) = &fate.rule {
            *self.rules.entry(rule.clone()).or_default() += 1;
        }
        let stopped = fate.stopped_after;
        let direct = match fate.kind {
            Kind::StolenAccounts => fate.passed,
            _ => fate.passed_direct,
        };
        let until = |passed| stopped.map_or(u64::MAX, |_| passed);
        self.until_stopped.push(until(direct));
        self.until_stopped_all.push(until(fate.passed));
        let in_time = |after: Millis| after <= DAY;
        self.stopped_within_a_day += usize::from(stopped.is_some_and(in_time));
    }

    fn at_least(&self, rung: Rung) -> usize {
        self.rungs.range(rung..).map(|(_, count)| count).sum()
    }

    fn share_in_time(&self) -> f64 {
        100.0 * self.stopped_within_a_day as f64 / self.tenants.max(1) as f64
    }
}

/// What a policy did.
#[derive(Debug, Default)]
pub(crate) struct Report(BTreeMap<Kind, Row>);

impl Report {
    /// Adds what became of a population.
    pub(crate) fn take(&mut self, fates: &[Fate]) {
        for fate in fates {
            self.0.entry(fate.kind).or_default().take(fate);
        }
    }

    /// As Markdown: one table for the infected, one for the honest.
    pub(crate) fn render(&self) -> String {
        format!("{}\n\n{}\n", self.infected(), self.honest())
    }

    fn infected(&self) -> Table {
        let mut table = table(&[
            "infected",
            "tenants",
            "found",
            "stopped",
            "within a day",
            "direct connections until stopped: median",
            "p99",
            "of all classes: median",
            "by rule",
        ]);
        for (kind, row) in self.0.iter().filter(|(kind, _)| kind.is_infected()) {
            let stopped = row.until_stopped.iter().filter(|n| **n != u64::MAX).count();
            table.add_row([
                kind.name().to_owned(),
                row.tenants.to_string(),
                row.at_least(Rung::Slowed).to_string(),
                stopped.to_string(),
                format!("{:.1} %", row.share_in_time()),
                count(percentile(&row.until_stopped, 50)),
                count(percentile(&row.until_stopped, 99)),
                count(percentile(&row.until_stopped_all, 50)),
                rules(row),
            ]);
        }
        table
    }

    fn honest(&self) -> Table {
        let mut table = table(&[
            "honest",
            "tenants",
            "noticed only",
            "slowed",
            "blocked",
            "severed",
            "by rule",
        ]);
        let of = |row: &Row, rung| row.rungs.get(&rung).copied().unwrap_or_default();
        for (kind, row) in self.0.iter().filter(|(kind, _)| !kind.is_infected()) {
            table.add_row([
                kind.name().to_owned(),
                row.tenants.to_string(),
                of(row, Rung::Noticed).to_string(),
                of(row, Rung::Slowed).to_string(),
                of(row, Rung::Blocked).to_string(),
                of(row, Rung::Severed).to_string(),
                rules(row),
            ]);
        }
        table
    }

    /// The promises that are not kept, in words.
    pub(crate) fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        let honest = || self.0.iter().filter(|(kind, _)| !kind.is_infected());
        let all: usize = honest().map(|(_, row)| row.tenants).sum();
        for (kind, row) in honest() {
            let stopped = row.at_least(Rung::Blocked);
            if stopped > 0 {
                missed.push(format!(
                    "no honest tenant is blocked or severed: {stopped} of {} ({})",
                    row.tenants,
                    kind.name()
                ));
            }
        }
        let slowed: usize = honest().map(|(_, row)| row.at_least(Rung::Slowed)).sum();
        if slowed * SLOWED >= all {
            missed.push(format!(
                "fewer than one honest tenant in {SLOWED} is slowed: {slowed} of {all}"
            ));
        }
        for (kind, row) in self.0.iter().filter(|(kind, _)| kind.is_infected()) {
            if kind.is_fast() {
                for (percent, most) in [(50, MEDIAN), (99, P99)] {
                    let found = percentile(&row.until_stopped, percent);
                    if found > most {
                        missed.push(format!(
                            "{percent} % of `{}` are stopped within {most} direct connections: {}",
                            kind.name(),
                            count(found)
                        ));
                    }
                }
            } else if row.share_in_time() < SLOW {
                missed.push(format!(
                    "{SLOW} % of `{}` are stopped within a day: {:.1} %",
                    kind.name(),
                    row.share_in_time()
                ));
            }
        }
        missed
    }
}

/// The value that so many of a hundred do not exceed.
fn percentile(values: &[u64], percent: usize) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(u64::MAX)
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(head);
    table
}

fn count(value: u64) -> String {
    if value == u64::MAX {
        "never".to_owned()
    } else {
        value.to_string()
    }
}

/// The rules that did it, the most frequent first.
fn rules(row: &Row) -> String {
    let mut rules: Vec<_> = row.rules.iter().collect();
    rules.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let named = rules.iter().map(|(rule, count)| format!("{rule} {count}"));
    named.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(kind: Kind, rung: Option<Rung>, passed: u64) -> Fate {
        Fate {
            kind,
            rung,
            rule: rung.map(|_| "rule".to_owned()),
            passed,
            passed_direct: passed,
            stopped_after: (rung >= Some(Rung::Blocked)).then_some(1),
        }
    }

    fn missed(fates: &[Fate]) -> Vec<String> {
        let mut report = Report::default();
        report.take(fates);
        report.missed()
    }

    #[test]
    fn what_is_promised_is_held_to() {
        let honest = vec![fate(Kind::Shop, None, 0); 2_000];
        let bots = |passed| vec![fate(Kind::FastDirect, Some(Rung::Blocked), passed); 10];
        assert!(missed(&[honest.clone(), bots(20)].concat()).is_empty());
        // Too late, by half of them and by all.
        assert_eq!(missed(&[honest.clone(), bots(21)].concat()).len(), 1);
        assert_eq!(missed(&[honest.clone(), bots(61)].concat()).len(), 2);
        let never = fate(Kind::FastDirect, Some(Rung::Slowed), 5);
        assert_eq!(missed(&[never]).len(), 3, "nor is anybody honest");

        let blocked = [
            honest.clone(),
            vec![fate(Kind::Shop, Some(Rung::Blocked), 0)],
        ]
        .concat();
        let [why] = &missed(&blocked)[..] else {
            panic!("{:?}", missed(&blocked))
        };
        assert!(why.contains("1 of 2001 (shop)"), "{why}");
        let slowed = vec![fate(Kind::Shop, Some(Rung::Slowed), 0); 2];
        assert!(missed(&[honest.clone(), slowed].concat()).is_empty());
        let slowed = vec![fate(Kind::Shop, Some(Rung::Slowed), 0); 3];
        assert_eq!(missed(&[honest, slowed].concat()).len(), 1);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        assert_eq!(percentile(&[3, 1, 2, 4], 50), 2);
        assert_eq!(percentile(&[3, 1, 2, 4], 99), 4);
        assert_eq!(percentile(&[], 50), u64::MAX);
    }
}
