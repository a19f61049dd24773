//! `flowguard policy check`: the rules in words.

use std::{path::PathBuf, time::Duration};

use crate::{
    cli::{context::Context, exit::Exit, view},
    config::Config,
    model::{ClassName, escape},
    policy::{Bound, Condition, Ladder, Policy, Rule, RuleAction, SourceGlobs, Step},
};

/// Say in words what each rule of a policy means
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Configuration file to explain [default: the one in force]
    file: Option<PathBuf>,
}

pub(super) fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let config = match &args.file {
        Some(file) => Config::load(file)?,
        None => context.config()?,
    };
    context.output.text(&explain(&config.judgement))?;
    Ok(Exit::Done)
}

fn explain(policy: &Policy) -> String {
    let mut text = String::new();
    if policy.rules.is_empty() {
        text.push_str("There is no rule: nobody is stopped but by hand.\n");
    }
    for rule in &policy.rules {
        text.push_str(&of_rule(rule));
        text.push('\n');
    }
    if policy
        .rules
        .iter()
        .flat_map(|rule| &rule.when)
        .any(|condition| condition.what.is_likelihood())
    {
        let sprt = &policy.sprt;
        text.push_str(&format!(
            "The sequential test takes it that {} of a good source's outcomes are bad, and {} of a bad \
             one's.\nIt may call {} of good sources bad and {} of bad ones good; what it saw counts \
             half after {}.\n\n",
            share(sprt.theta0),
            share(sprt.theta1),
            share(sprt.alpha),
            share(sprt.beta),
            span(sprt.half_life)
        ));
    }
    for package in &policy.packages {
        let whose = package.sources.as_ref().map_or_else(
            || "whoever the panel says has it".to_owned(),
            |sources| format!("{}, and whoever the panel says has it", globs(sources)),
        );
        text.push_str(&format!(
            "Package `{}` ({whose}): limits of counts are {} times as high.\n",
            escape(&package.name),
            package.factor
        ));
    }
    for over in &policy.overrides {
        let mut changes = Vec::new();
        if over.factor != 1.0 {
            changes.push(format!(
                "limits of counts are {} times as high",
                over.factor
            ));
        }
        if !over.skip.is_empty() {
            changes.push(format!("not judged by {}", over.skip.join(", ")));
        }
        let until = over
            .until
            .map_or_else(String::new, |until| format!(", until {until}"));
        text.push_str(&format!(
            "Override `{}` ({}): {}{until}.\n",
            over.name,
            globs(&over.sources),
            changes.join(" and ")
        ));
    }
    text
}

/// One rule: whom it judges, when it fits, and what follows.
fn of_rule(rule: &Rule) -> String {
    let mut text = format!(
        "{}\n  judges   {} connections of {}\n",
        rule.name,
        class(rule.class),
        whom(rule)
    );
    for (condition, word) in rule
        .when
        .iter()
        .zip(["fits if"].into_iter().chain(std::iter::repeat("and")))
    {
        text.push_str(&format!("  {word:<9}{}\n", in_words(condition)));
    }
    let ladder = &rule.ladder;
    let steps = ladder.steps.iter().map(step);
    for (step, word) in steps.zip(
        ["then", "next"]
            .into_iter()
            .chain(std::iter::repeat("next")),
    ) {
        text.push_str(&format!("  {word:<9}{step}\n"));
    }
    text.push_str(&format!("  {:<9}{}\n", "after it", afterwards(ladder)));
    if rule.when.iter().all(|condition| condition.what.is_rate()) {
        text.push_str(
            "  CAUTION  it judges by rate alone: a newsletter or a busy form looks the same\n",
        );
    }
    text
}

const fn class(class: ClassName) -> &'static str {
    match class {
        ClassName::Direct => "direct",
        ClassName::Submission => "submission",
        ClassName::Relay => "relay",
    }
}

fn whom(rule: &Rule) -> String {
    let mut whom = globs(&rule.sources);
    for (what, names) in [("group", &rule.groups), ("package", &rule.packages)] {
        if !names.is_empty() {
            whom.push_str(&format!(" of {what} {}", escape(&names.join(" or "))));
        }
    }
    whom
}

fn globs(sources: &SourceGlobs) -> String {
    match sources.patterns() {
        [all] if all == "*" => "everybody".to_owned(),
        patterns => escape(&patterns.join(", ")),
    }
}

/// `15 or more first contacts (destinations) within 10m`.
fn in_words(condition: &Condition) -> String {
    let what = condition.what;
    if what.is_likelihood() {
        return "the sequential test calls the source bad (likelihood)".to_owned();
    }
    let percent = what.is_ratio() && what.name().ends_with("-ratio");
    let number = |value: f64| {
        if percent {
            share(value)
        } else {
            value.to_string()
        }
    };
    let bound = match condition.bound {
        Bound::AtLeast(limit) => format!("{} or more", number(limit)),
        Bound::AtMost(limit) => format!("{} or less", number(limit)),
    };
    let of = if what.is_ratio() {
        format!(", of {} at least", condition.of_at_least)
    } else {
        String::new()
    };
    let before = if condition.before.is_zero() {
        String::new()
    } else {
        format!(", leaving the last {} out", span(condition.before))
    };
    let join = if percent { " of the" } else { "" };
    format!(
        "{bound}{join} {} ({}) within {}{of}{before}",
        what.words(),
        what.name(),
        span(condition.within)
    )
}

fn step(step: &Step) -> String {
    let Some(action) = step.action else {
        return "it is noted".to_owned();
    };
    let done = match action {
        RuleAction::Limit(rate) => {
            format!("new connections are limited to {}", view::rate(rate.into()))
        }
        RuleAction::NewDestinations(rate) => format!(
            "servers it knows stay open to it, new ones are limited to {}",
            view::rate(rate.into())
        ),
        RuleAction::Redirect => "new connections go to the smarthost".to_owned(),
        RuleAction::Block => "new connections are refused".to_owned(),
        RuleAction::Sever => "new connections are refused, and open ones stopped".to_owned(),
    };
    format!("{done}, for {} ({})", span(step.duration), action.name())
}

fn afterwards(ladder: &Ladder) -> String {
    let grows = if ladder.growth > 1.0 {
        format!(
            "every offence lasts {} times as long, {} at most; ",
            ladder.growth,
            span(ladder.longest)
        )
    } else {
        "the same again; ".to_owned()
    };
    let forgive = span(ladder.forgive);
    format!("{grows}one offence is forgiven for each {forgive} of good conduct")
}

fn span(duration: Duration) -> String {
    view::span(duration.as_secs())
}

/// `40 %`.
fn share(value: f64) -> String {
    format!("{} %", (value * 1e6).round() / 1e4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_told_in_words() {
        let text = "[[ladder]]\nname = 'l'\nforgive = '1d'\nsteps = [\n\
                    { action = 'notice' },\n\
                    { action = 'new-destinations', limit = { burst = 3, rate = 12, per = '1h' }, for = '1h' },\n\
                    { action = 'block', for = '2h' } ]\n\
                    [[rule]]\nname = 'r'\nsources = ['user:*']\npackages = ['cheap']\nclass = 'direct'\n\
                    ladder = 'l'\nwhen = [\n\
                    { within = '10m', what = 'destinations', at_least = 15 },\n\
                    { within = '10m', what = 'rejected-ratio', at_least = 0.4, of_at_least = 10 },\n\
                    { within = '7d', before = '1h', what = 'messages', at_most = 0 },\n\
                    { what = 'likelihood' } ]\n\
                    [[override]]\nname = 'o'\nsources = ['user:shop']\nfactor = 10\n";
        let config = Config::parse(text, None).unwrap();
        assert_eq!(
            explain(&config.judgement),
            "\
r
  judges   direct connections of user:* of package cheap
  fits if  15 or more first contacts (destinations) within 10m
  and      40 % or more of the answers that decide said no (rejected-ratio) within 10m, of 10 at least
  and      0 or less messages servers were ready to take (messages) within 7d, leaving the last 1h out
  and      the sequential test calls the source bad (likelihood)
  then     it is noted
  next     servers it knows stay open to it, new ones are limited to 3 at once and then one every 5m, for 1h (new-destinations)
  next     new connections are refused, for 2h (block)
  after it every offence lasts 2 times as long, 7d at most; one offence is forgiven for each 1d of good conduct

The sequential test takes it that 20 % of a good source's outcomes are bad, and 90 % of a bad one's.
It may call 0.01 % of good sources bad and 1 % of bad ones good; what it saw counts half after 1h.

Override `o` (user:shop): limits of counts are 10 times as high.
"
        );
    }

    #[test]
    fn the_shipped_policy_needs_no_caution_and_a_rate_does() {
        let shipped = Config::embedded().unwrap().judgement;
        assert!(!explain(&shipped).contains("CAUTION"));
        let text = "[[rule]]\nname = 'r'\nsources = ['*']\nclass = 'direct'\nwindow = '1h'\n\
                    min_attempts = 100\naction = 'block'\nfor = '1h'\n";
        let rate = Config::parse(text, None).unwrap().judgement;
        assert!(explain(&rate).contains("CAUTION"));
        let none = Config::parse("rule = []", None).unwrap().judgement;
        assert!(explain(&none).starts_with("There is no rule"));
    }
}
