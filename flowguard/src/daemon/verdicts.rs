//! Verdicts: made by policy or by hand, written to the kernel and on record, lifted, ended.

use std::{collections::HashSet, time::Duration};

use flowguard_common::{
    class::Class,
    source::Kind,
    verdict::{Rate, VERDICT_BY_HAND, Verdict},
};
use jiff::SignedDuration;

use super::{state::State, warnings::About};
use crate::{
    control::api::{ActionName, Ended, VerdictRecord},
    kernel::{
        KernelError, Terms,
        clock::Moment,
        offline::{self, Accounts, NETNS_PREFIX, kernel_action},
    },
    model::{SourceName, escape},
    policy::Standing,
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
        let gone = (!self.kernel.hooks.are_in_place()).then(|| {
            format!(
                "the guard's pins in {} are gone: nothing is counted or refused any more; restart \
                 the daemon",
                self.config.paths.pins.display()
            )
        });
        self.warn(About::Pins, gone);
        self.look_at_redirections();
        self.refresh_addresses();
        self.sweep(&accounts, &now);
        self.register_newcomers(accounts.unregistered.keys().copied());
        self.warn_full_tables(accounts.fallback_entries);
        self.ask_names_again();
        self.read_mapping(false);
        self.find_tenants();
        self.look_groups_up_again();
        self.look_at_settling_devices();
        self.look_after_gateways();
        self.look_at_routes();
        self.record_history(&accounts, &now);
        self.judge(&accounts, &now);
    }

    /// Has the kernel settle what nobody answered in time, on devices where something may wait.
    fn sweep(&mut self, accounts: &Accounts, now: &Moment) {
        let due = self.config.kernel.unanswered_after + SWEEP_MARGIN;
        let waits = |source: u32| {
            let account = accounts.registered.get(&source).into_iter();
            let last_ns = account.flatten().map(|(_, counters)| counters.last_seen_ns);
            last_ns
                .max()
                .is_some_and(|last_ns| now.boot < Duration::from_nanos(last_ns) + due)
        };
        let registry = &self.kernel.registry;
        let slots: Vec<_> = registry
            .edge_slots()
            .filter(|(_, source)| waits(*source))
            .collect();
        let failed = slots
            .into_iter()
            .find_map(|(slot, source)| self.kernel.hooks.sweep(slot, source).err());
        let what = failed.map(|error| {
            format!(
                "connections that nobody answered are not counted as timed out: {:#}",
                anyhow::Error::from(error)
            )
        });
        self.warn(About::Sweep, what);
    }

    /// Puts a verdict on record and then in force, in the place of the one there is.
    pub(super) fn install(
        &mut self,
        source: u32,
        mut record: VerdictRecord,
        mut terms: Terms,
    ) -> Result<VerdictRecord, KernelError> {
        let class = Class::from(record.class);
        self.store.add(&mut record);
        terms.record = record.record;
        if let Err(error) = self.kernel.verdicts.set(source, class, &terms) {
            self.close(record, "error");
            return Err(error);
        }
        let verdict = InForce {
            record: record.clone(),
            expires_ns: terms.expires_ns,
        };
        if let Some(replaced) = self.verdicts.insert((source, class), verdict) {
            self.close(replaced.record, &record.by);
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
        self.forget_if_by_hand(source);
        Ok(lifted.map(|lifted| self.close(lifted.record, by)))
    }

    /// Ends a rule's verdict on a source that is exempt from now on.
    pub(super) fn end_for_exemption(&mut self, source: u32, class: Class) {
        if let Some(over) = self.verdicts.remove(&(source, class)) {
            self.close(over.record, "exemption");
        }
    }

    /// Notes on a record that the verdict ended before its time.
    fn close(&mut self, mut record: VerdictRecord, by: &str) -> VerdictRecord {
        record.ended = Some(Ended {
            at: self.now().wall,
            by: by.to_owned(),
        });
        self.store.update(&record);
        record
    }

    /// Clears away verdicts whose time is over. The kernel ended them by itself.
    fn end_expired(&mut self, now: &Moment) {
        let over: Vec<(u32, Class)> = self
            .verdicts
            .iter()
            // By the kernel's clock: the wall clock may be set.
            .filter(|(_, verdict)| verdict.is_over(now))
            .map(|(key, _)| *key)
            .collect();
        for (source, class) in over {
            if let Err(error) = self.kernel.verdicts.lift(source, class) {
                tracing::error!(source, %error, "cannot clear an expired verdict away");
                continue;
            }
            let over = self.verdicts.remove(&(source, class));
            if let Some(InForce { mut record, .. }) = over {
                // At its time, as it was promised; so the database knows without a clock.
                record.ended = Some(Ended {
                    at: record.until.unwrap_or(now.wall),
                    by: "time".to_owned(),
                });
                self.store.update(&record);
            }
            self.exempt_or_not(source);
            self.forget_if_by_hand(source);
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
            let number = verdict.record;
            let found = self.store.ask_now(move |store| store.get(number));
            let found = found.unwrap_or_else(|error| {
                tracing::error!(source, %error, "the explanation of a verdict is lost");
                None
            });
            // Numbers begin anew with a new database: the record must be of this very verdict.
            let name = self.kernel.registry.name(source).map(offline::full_name);
            let found = found.filter(|record| {
                Some(&record.source) == name.as_ref()
                    && Class::from(record.class) == class
                    && record.action == action
                    && record.ended.is_none()
            });
            let record =
                found.unwrap_or_else(|| self.unexplained(source, class, &verdict, action, &now));
            let verdict = InForce {
                record,
                expires_ns: verdict.expires_ns,
            };
            self.verdicts.insert((source, class), verdict);
        }
        Ok(())
    }

    /// Squares the database with the kernel. A running guard that was adopted is the truth: open
    /// records that it does not hold have ended. A kernel without a guard, as after a reboot, gets
    /// the verdicts back that are on record, the newest for each source and class.
    pub(super) fn square_records(&mut self) {
        let now = self.now();
        let wall = now.wall;
        let open = match self.store.ask_now(move |store| store.open_at(wall)) {
            Ok(open) => open,
            Err(error) => {
                tracing::error!(%error, "verdicts on record do not come back into force");
                return;
            }
        };
        let held: HashSet<u64> = self
            .verdicts
            .values()
            .map(|held| held.record.record)
            .collect();
        let mut done = HashSet::new();
        for record in open.into_iter().rev() {
            if held.contains(&record.record) {
                continue;
            }
            let newest = done.insert((record.source.clone(), record.class));
            let lasts = newest && !self.adopted && outlives_reboot(&record, &now);
            if !lasts {
                self.close(record, "restart");
            } else if let Err(error) = self.reinstate(&record, &now) {
                tracing::error!(source = %escape(&record.source), %error, "cannot reinstate a verdict");
            }
        }
    }

    pub(super) fn reinstate(
        &mut self,
        record: &VerdictRecord,
        now: &Moment,
    ) -> Result<(), KernelError> {
        let Some(name) = SourceName::parse(&record.source) else {
            return Ok(());
        };
        let source = self.register(&name)?;
        self.find_identity_of(&name);
        self.lead_address(&name, source)?;
        let left = record
            .until
            .map(|until| Duration::try_from(until.duration_since(now.wall)).unwrap_or_default());
        let terms = Terms {
            action: kernel_action(record.action),
            flags: if record.by == BY_POLICY {
                0
            } else {
                VERDICT_BY_HAND
            },
            expires_ns: expires_ns(now, left),
            rate: record.limit.map(Rate::from).unwrap_or_default(),
            record: record.record,
        };
        self.kernel
            .verdicts
            .set(source, record.class.into(), &terms)?;
        let verdict = InForce {
            record: record.clone(),
            expires_ns: terms.expires_ns,
        };
        self.verdicts.insert((source, record.class.into()), verdict);
        tracing::warn!(source = %name, action = %record.action, "a verdict is in force again");
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
                BY_POLICY
            }
            .to_owned(),
            limit: action.has_rate().then(|| verdict.rate.into()),
            reason: Some("made before this daemon started; its explanation is lost".to_owned()),
            mode: self.config.mode,
            since: now.wall,
            until: (verdict.expires_ns != 0).then(|| now.wall_at(verdict.expires_ns)),
            ended: None,
            observations: Vec::new(),
            step: None,
            likelihood: None,
            events: Vec::new(),
            replies: Vec::new(),
        }
    }
}

/// Whether a record can be put back in force: its source's name means the same after a reboot, and
/// it was not made in what the clock, if it is not set yet, takes for the future.
fn outlives_reboot(record: &VerdictRecord, now: &Moment) -> bool {
    let lasting = match SourceName::parse(&record.source) {
        Some(SourceName {
            kind: Kind::User | Kind::Addr,
            ..
        }) => true,
        Some(SourceName {
            kind: Kind::Container,
            name,
        }) => !name.starts_with(NETNS_PREFIX),
        // Interface names go to whoever comes first: only a person can have meant one.
        Some(SourceName {
            kind: Kind::Iface, ..
        }) => record.by != BY_POLICY,
        None => false,
    };
    lasting && (record.until.is_none() || record.since <= now.wall)
}

/// A verdict in force.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    /// Why.
    pub(super) record: VerdictRecord,
    /// Its end by the kernel's clock; 0: none.
    expires_ns: u64,
}

impl InForce {
    /// Whether a rule asked for it.
    pub(super) fn is_by_policy(&self) -> bool {
        self.record.by == BY_POLICY
    }

    /// What it means to the rules.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            action: self.record.action,
            by_hand: !self.is_by_policy(),
        }
    }

    fn is_over(&self, now: &Moment) -> bool {
        self.expires_ns != 0 && self.expires_ns <= now.boot_ns()
    }
}

/// For how long after its time an attempt is looked for: some ticks, the longest included.
const SWEEP_MARGIN: Duration = Duration::from_secs(130);

/// Who made a verdict that a rule asked for.
pub(super) const BY_POLICY: &str = "policy";

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
