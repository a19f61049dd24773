//! Verdicts: made by policy or by hand, written to the kernel and on record, lifted, ended.

use std::time::Duration;

use flowguard_common::{
    class::Class,
    verdict::{ACTION_BLOCK, ACTION_LIMIT, Rate, VERDICT_BY_HAND, Verdict},
};
use jiff::SignedDuration;

use super::state::State;
use crate::{
    control::api::{ActionName, Ended, VerdictRecord},
    kernel::{KernelError, clock::Moment, offline},
    policy::{Finding, RuleAction, Sample},
};

impl State {
    /// Weighs all counters against the rules and carries out what they ask for.
    pub(super) fn tick(&mut self) {
        let now = self.now();
        self.end_expired(&now);
        let accounts = match self.accounts() {
            Ok(accounts) => accounts,
            Err(error) => {
                // A tick without samples would look like silence.
                tracing::error!(%error, "cannot read the counters: no rule is weighed this time");
                return;
            }
        };
        self.register_newcomers(accounts.unregistered.keys().copied());
        self.look_at_settling_devices();
        let mut samples = Vec::new();
        for (id, account) in &accounts.registered {
            let Some(name) = self.kernel.registry.name(*id) else {
                continue;
            };
            for (class, counters) in account.iter().filter(|(_, counters)| counters.attempts > 0) {
                samples.push(Sample {
                    source: *id,
                    name,
                    class: *class,
                    totals: (*counters).into(),
                    exempt: self.exempted.contains(id),
                    under_verdict: self.verdicts.contains_key(&(*id, (*class).into())),
                });
            }
        }
        for finding in self.engine.tick(now.boot, samples) {
            self.carry_out(&finding, &now);
        }
    }

    /// Carries out what a rule asks for.
    fn carry_out(&mut self, finding: &Finding, now: &Moment) {
        let (action, kernel_action, rate) = match finding.action {
            RuleAction::Block => (ActionName::Block, ACTION_BLOCK, Rate::UNLIMITED),
            RuleAction::Limit(rate) => (ActionName::Limit, ACTION_LIMIT, rate),
        };
        let record = VerdictRecord {
            record: 0,
            source: offline::full_name(&finding.name),
            class: finding.class,
            action,
            rule: Some(finding.rule.clone()),
            by: "policy".to_owned(),
            reason: None,
            mode: self.config.mode,
            since: now.wall,
            until: until(now, Some(finding.duration)),
            ended: None,
            observations: finding.observations.clone(),
            events: self.evidence.of(finding.source, Some(finding.class)),
        };
        let verdict = Verdict {
            action: kernel_action,
            flags: 0,
            expires_ns: expires_ns(now, Some(finding.duration)),
            rate,
            record: 0,
        };
        match self.install(finding.source, record, verdict) {
            Ok(record) => tracing::warn!(
                source = %finding.name,
                class = Class::from(finding.class).name(),
                rule = %finding.rule,
                action = %record.action,
                mode = ?record.mode,
                "a rule fits"
            ),
            Err(error) => {
                tracing::error!(source = %finding.name, %error, "cannot install a verdict");
            }
        }
    }

    /// Puts a verdict on record and then in force, in the place of the one there is.
    pub(super) fn install(
        &mut self,
        source: u32,
        mut record: VerdictRecord,
        mut verdict: Verdict,
    ) -> Result<VerdictRecord, KernelError> {
        let class = Class::from(record.class);
        let stored = self.store.add(&mut record);
        self.warn_store(stored.err());
        verdict.record = record.record;
        self.kernel.verdicts.set(source, class, &verdict)?;
        if let Some(replaced) = self.verdicts.insert((source, class), record.clone()) {
            self.close(replaced, &record.by);
        }
        Ok(record)
    }

    /// Lifts a verdict; its record, if there was one in force.
    pub(super) fn lift(
        &mut self,
        source: u32,
        class: Class,
        by: &str,
    ) -> Result<Option<VerdictRecord>, KernelError> {
        if !self.verdicts.contains_key(&(source, class)) {
            return Ok(None);
        }
        self.kernel.verdicts.lift(source, class)?;
        let lifted = self.verdicts.remove(&(source, class));
        self.exempt_or_not(source);
        Ok(lifted.map(|record| self.close(record, by)))
    }

    /// Notes on a record that the verdict ended before its time.
    fn close(&mut self, mut record: VerdictRecord, by: &str) -> VerdictRecord {
        record.ended = Some(Ended {
            at: self.now().wall,
            by: by.to_owned(),
        });
        let stored = self.store.update(&record);
        self.warn_store(stored.err());
        record
    }

    pub(super) fn warn_store(&mut self, error: Option<crate::store::StoreError>) {
        let what = error.map(|error| {
            format!(
                "verdicts are in force but their explanations cannot be written: {:#}",
                anyhow::Error::from(error)
            )
        });
        self.warn("store", what);
    }

    /// Clears away verdicts whose time is over. The kernel ended them by itself.
    fn end_expired(&mut self, now: &Moment) {
        let over: Vec<(u32, Class)> = self
            .verdicts
            .iter()
            .filter(|(_, record)| record.until.is_some_and(|until| until <= now.wall))
            .map(|(key, _)| *key)
            .collect();
        for (source, class) in over {
            if let Err(error) = self.kernel.verdicts.lift(source, class) {
                tracing::error!(source, %error, "cannot clear an expired verdict away");
                continue;
            }
            self.verdicts.remove(&(source, class));
            self.exempt_or_not(source);
        }
    }

    /// Takes over the verdicts an earlier daemon left in the kernel.
    pub(super) fn adopt_verdicts(&mut self) -> Result<(), KernelError> {
        let now = self.now();
        for (source, class, verdict) in self.kernel.verdicts.read()? {
            if verdict.is_exemption() {
                self.exempted.insert(source);
                continue;
            }
            let Some(action) = offline::action_name(&verdict, &now) else {
                self.kernel.verdicts.lift(source, class)?;
                continue;
            };
            let found = self.store.get(verdict.record).unwrap_or_else(|error| {
                tracing::error!(source, %error, "the explanation of a verdict is lost");
                None
            });
            let record =
                found.unwrap_or_else(|| self.unexplained(source, class, &verdict, action, &now));
            self.verdicts.insert((source, class), record);
        }
        Ok(())
    }

    /// A record for a verdict whose own is lost.
    fn unexplained(
        &self,
        source: u32,
        class: Class,
        verdict: &Verdict,
        action: ActionName,
        now: &Moment,
    ) -> VerdictRecord {
        let name = self.kernel.registry.name(source);
        VerdictRecord {
            record: verdict.record,
            source: name
                .map(offline::full_name)
                .unwrap_or_else(|| format!("id:{source}")),
            class: class.into(),
            action,
            rule: None,
            by: if verdict.flags & VERDICT_BY_HAND != 0 {
                "operator"
            } else {
                "policy"
            }
            .to_owned(),
            reason: Some("made before this daemon started; its explanation is lost".to_owned()),
            mode: self.config.mode,
            since: now.wall,
            until: (verdict.expires_ns != 0).then(|| now.wall_at(verdict.expires_ns)),
            ended: None,
            observations: Vec::new(),
            events: Vec::new(),
        }
    }
}

/// When a verdict that lasts so long ends, by the wall clock.
pub(super) fn until(now: &Moment, duration: Option<Duration>) -> Option<jiff::Timestamp> {
    let duration = SignedDuration::try_from(duration?).ok()?;
    now.wall.checked_add(duration).ok()
}

/// When a verdict that lasts so long ends, by the kernel's clock; 0: never.
pub(super) fn expires_ns(now: &Moment, duration: Option<Duration>) -> u64 {
    let Some(duration) = duration else {
        return 0;
    };
    u64::try_from(duration.as_nanos())
        .ok()
        .and_then(|ns| now.boot_ns().checked_add(ns))
        .unwrap_or(0)
}
