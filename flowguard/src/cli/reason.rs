//! Why a rule fits, in words.

use super::view;
use crate::{
    control::api::{Bound, Likelihood, Observation, StepInfo},
    model::escape,
};

/// `15 destinations within 10m; the limit is 12`.
pub(super) fn observation(seen: &Observation) -> String {
    let limit = number(seen, seen.limit);
    let bound = match seen.bound {
        Bound::AtLeast => format!("the limit is {limit}"),
        Bound::AtMost => format!("no more than {limit}"),
    };
    format!("{} within {}; {bound}", value(seen), window(seen))
}

/// `15 destinations in 10m (limit 12)`.
pub(super) fn in_short(seen: &Observation) -> String {
    let limit = number(seen, seen.limit);
    let bound = match seen.bound {
        Bound::AtLeast => "limit",
        Bound::AtMost => "at most",
    };
    format!("{} in {} ({bound} {limit})", value(seen), window(seen))
}

/// `15 destinations`, `rejected-ratio 52 % of 25`.
fn value(seen: &Observation) -> String {
    let (what, value) = (escape(&seen.what), number(seen, seen.value));
    match seen.of {
        Some(of) => format!("{what} {value} of {of}"),
        None => format!("{value} {what}"),
    }
}

/// A share in percent, anything else as it is.
fn number(seen: &Observation, value: f64) -> String {
    if seen.of.is_some() && seen.what.ends_with("-ratio") {
        format!("{} %", (value * 1000.0).round() / 10.0)
    } else {
        ((value * 100.0).round() / 100.0).to_string()
    }
}

fn window(seen: &Observation) -> String {
    let within = view::span(seen.window_seconds);
    if seen.before_seconds == 0 {
        within
    } else {
        let before = view::span(seen.before_seconds);
        format!("{within} without the last {before}")
    }
}

/// `7 bad outcomes against 1 good one: …`.
pub(super) fn likelihood(known: &Likelihood) -> String {
    let (bad, good) = (known.bad, known.good);
    format!(
        "{bad} bad and {good} good outcomes: {} times likelier of a bad source; the limit is {}",
        times(known.log_ratio),
        times(known.limit)
    )
}

/// What a logarithm stands for, as far as it matters.
fn times(log_ratio: f64) -> String {
    let times = log_ratio.exp();
    if times >= 1e6 {
        "over a million".to_owned()
    } else if times >= 10.0 {
        format!("{times:.0}")
    } else {
        format!("{times:.2}")
    }
}

/// `2 of 3; offence 2 against this rule`.
pub(super) fn step(step: &StepInfo) -> String {
    let sooner = if step.sooner {
        "; one step sooner, since the address it sends from is in danger of being listed"
    } else {
        ""
    };
    format!(
        "{} of {}; offence {} against this rule{sooner}",
        step.step, step.of, step.offence
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_read_like_sentences() {
        let count = Observation {
            what: "destinations".to_owned(),
            value: 15.0,
            limit: 12.0,
            bound: Bound::AtLeast,
            of: None,
            window_seconds: 600,
            before_seconds: 0,
        };
        assert_eq!(
            observation(&count),
            "15 destinations within 10m; the limit is 12"
        );
        let share = Observation {
            what: "rejected-ratio".to_owned(),
            value: 0.5234,
            limit: 0.4,
            of: Some(25),
            ..count.clone()
        };
        assert_eq!(
            observation(&share),
            "rejected-ratio 52.3 % of 25 within 10m; the limit is 40 %"
        );
        let before = Observation {
            value: 0.0,
            limit: 2.0,
            bound: Bound::AtMost,
            window_seconds: 604_800,
            before_seconds: 3_600,
            ..count
        };
        assert_eq!(
            observation(&before),
            "0 destinations within 7d without the last 1h; no more than 2"
        );
        assert_eq!(
            in_short(&before),
            "0 destinations in 7d without the last 1h (at most 2)"
        );
    }

    #[test]
    fn likelihoods_are_told_as_odds() {
        let known = Likelihood {
            log_ratio: 1000_f64.ln(),
            limit: 99_f64.ln(),
            good: 1,
            bad: 6,
        };
        assert_eq!(
            likelihood(&known),
            "6 bad and 1 good outcomes: 1000 times likelier of a bad source; the limit is 99"
        );
        assert_eq!(times(f64::MAX), "over a million");
        assert_eq!(times(0.5_f64.ln()), "0.50");
    }
}
