//! The policy engine in the daemon: what it is told, and what is made of what it finds.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use flowguard_common::class::Class;
use jiff::SignedDuration;

use super::{
    state::State,
    verdicts::{BY_POLICY, InForce, expires_ns, until},
};
use crate::{
    control::api::{ActionName, Decided, Ended, Reply, VerdictRecord},
    kernel::{
        Terms,
        clock::Moment,
        offline::{self, Accounts, kernel_action},
    },
    model::SourceName,
    policy::{Conduct, Fields, Finding, Heard, RuleAction, Sample},
};

/// Offences from before that are forgiven by any sensible ladder.
const LONG_AGO: Duration = Duration::from_hours(24 * 60);

/// What rules asked for since the start.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<ActionName, (u64, HashSet<u32>)>);

impl Tally {
    fn count(&mut self, action: ActionName, source: u32) {
        let (verdicts, sources) = self.0.entry(action).or_default();
        *verdicts += 1;
        sources.insert(source);
    }

    pub(super) fn decided(&self) -> BTreeMap<ActionName, Decided> {
        let of = |(action, (verdicts, sources)): (&ActionName, &(u64, HashSet<u32>))| {
            let decided = Decided {
                verdicts: *verdicts,
                sources: sources.len() as u64,
            };
            (*action, decided)
        };
        self.0.iter().map(of).collect()
    }
}

impl State {
    /// Weighs all counters against the rules and carries out what they ask for.
    pub(super) fn judge(&mut self, accounts: &Accounts, now: &Moment) {
        self.engine.end_overrides(now.wall);
        let mut samples = Vec::new();
        for (id, account) in &accounts.registered {
            let Some(name) = self.kernel.registry.name(*id) else {
                continue;
            };
            for (class, counters) in account.iter().filter(|(_, counters)| counters.attempts > 0) {
                let verdict = self.verdicts.get(&(*id, (*class).into()));
                samples.push(Sample {
                    source: *id,
                    name,
                    class: *class,
                    totals: (*counters).into(),
                    known: Fields::of_kind(name.kind),
                    // Whoever an operator has named by a cgroup is no tenant of its own.
                    exempt: self.exempted.contains(id) || name.is_cgroup_path(),
                    verdict: verdict.map(InForce::standing),
                    package: self.tenants.package_of(*id),
                    groups: self.groups.of(*id),
                });
            }
        }
        for finding in self.engine.tick(now.boot, samples) {
            self.act_on(&finding, now);
        }
    }

    /// Tells the engine what a mail server said.
    pub(super) fn hear(&mut self, source: u32, reply: &Reply) {
        self.engine.hear(Heard {
            source,
            class: reply.class,
            server: reply.server,
            text: &reply.text,
            sent_from: reply.sent_from.map(Into::into),
        });
    }

    /// Carries out what a rule asks for, or notes it.
    fn act_on(&mut self, finding: &Finding, now: &Moment) {
        let action = finding.action.map_or(ActionName::Notice, RuleAction::name);
        self.tally.count(action, finding.source);
        let record = self.record(finding, action, now);
        let Some(asked) = finding.action else {
            self.notice(record, now);
            return;
        };
        let terms = Terms {
            action: kernel_action(action),
            flags: 0,
            expires_ns: expires_ns(now, Some(finding.duration)),
            rate: asked.rate().unwrap_or_default(),
            record: 0,
        };
        match self.install(finding.source, record, terms) {
            Ok(record) => tracing::warn!(
                source = %finding.name,
                class = Class::from(finding.class).name(),
                rule = %finding.rule,
                action = %record.action,
                step = finding.step.step,
                offence = finding.step.offence,
                mode = ?record.mode,
                "a rule fits"
            ),
            Err(error) => {
                tracing::error!(source = %finding.name, %error, "cannot install a verdict");
            }
        }
    }

    /// What is put on record of a finding.
    fn record(&self, finding: &Finding, action: ActionName, now: &Moment) -> VerdictRecord {
        let (source, class) = (finding.source, Some(finding.class));
        VerdictRecord {
            record: 0,
            source: offline::full_name(&finding.name),
            class: finding.class,
            action,
            rule: Some(finding.rule.clone()),
            by: BY_POLICY.to_owned(),
            reason: None,
            limit: finding.action.and_then(RuleAction::rate).map(Into::into),
            mode: self.config.mode,
            since: now.wall,
            until: until(now, Some(finding.duration)),
            ended: None,
            observations: finding.observations.clone(),
            step: Some(finding.step),
            likelihood: finding.likelihood,
            events: self.evidence.of(source, class),
            replies: self.evidence.replies_of(source, class),
        }
    }

    /// Puts on record that a rule fits, and leaves it at that.
    fn notice(&mut self, mut record: VerdictRecord, now: &Moment) {
        tracing::warn!(
            source = %crate::model::escape(&record.source),
            class = Class::from(record.class).name(),
            rule = record.rule.as_deref().unwrap_or_default(),
            "a rule fits, and asks for a notice"
        );
        record.ended = Some(Ended {
            at: now.wall,
            by: "time".to_owned(),
        });
        self.store.add(&mut record);
    }

    /// Tells the engine of the offences that are on record, so that a restart pardons nobody.
    pub(super) fn remember_conduct(&mut self) {
        let now = self.now();
        let long_ago = SignedDuration::try_from(LONG_AGO)
            .ok()
            .and_then(|age| now.wall.checked_sub(age).ok());
        let since = long_ago.unwrap_or(now.wall);
        let records = match self.store.ask_now(move |store| store.made_since(since)) {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(%error, "earlier offences are not remembered");
                return;
            }
        };
        self.engine.restore(conduct(records, &now));
    }
}

/// The last offence of each source in each class against each rule.
fn conduct(records: Vec<VerdictRecord>, now: &Moment) -> Vec<Conduct> {
    let mut last = BTreeMap::new();
    for record in records {
        let (Some(name), Some(rule), Some(step)) =
            (SourceName::parse(&record.source), record.rule, record.step)
        else {
            continue;
        };
        let ended = record.ended.map(|ended| ended.at).or(record.until);
        let since = ended.map(|ended| now.wall.duration_since(ended));
        let conduct = Conduct {
            name: name.clone(),
            class: record.class,
            rule: rule.clone(),
            offences: step.offence,
            // One that is not over yet counts from now on.
            since: since
                .and_then(|since| Duration::try_from(since).ok())
                .unwrap_or_default(),
        };
        last.insert((name, record.class, rule), conduct);
    }
    last.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::api::StepInfo,
        model::{ClassName, Mode},
    };

    #[test]
    fn the_last_offence_against_each_rule_is_remembered() {
        let now = Moment {
            boot: Duration::from_secs(100),
            wall: "2026-11-25T12:00:00Z".parse().unwrap(),
        };
        let record = |source: &str, rule: Option<&str>, offence, until: &str| VerdictRecord {
            record: 1,
            source: source.to_owned(),
            class: ClassName::Direct,
            action: ActionName::Block,
            rule: rule.map(ToOwned::to_owned),
            limit: None,
            by: BY_POLICY.to_owned(),
            reason: None,
            mode: Mode::Enforce,
            since: now.wall,
            until: Some(until.parse().unwrap()),
            ended: None,
            observations: Vec::new(),
            step: Some(StepInfo {
                step: 1,
                of: 1,
                offence,
                sooner: false,
            }),
            likelihood: None,
            events: Vec::new(),
            replies: Vec::new(),
        };
        let records = vec![
            record("user:a", Some("r"), 1, "2026-11-24T12:00:00Z"),
            record("user:a", Some("r"), 2, "2026-11-25T11:00:00Z"),
            record("user:a", Some("other"), 5, "2026-11-25T13:00:00Z"),
            record("user:a", None, 9, "2026-11-25T11:00:00Z"),
            record("nonsense", Some("r"), 9, "2026-11-25T11:00:00Z"),
        ];
        let told: Vec<_> = conduct(records, &now)
            .into_iter()
            .map(|conduct| (conduct.rule, conduct.offences, conduct.since.as_secs()))
            .collect();
        assert_eq!(
            told,
            [("other".to_owned(), 5, 0), ("r".to_owned(), 2, 3600)]
        );
    }
}
