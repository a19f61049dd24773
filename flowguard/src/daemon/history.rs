//! What goes into the database: opened at start, written once a minute.

use std::{
    io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{audit, start::RunError, state::State, warnings::About};
use crate::{
    control::api,
    kernel::{
        clock::Moment,
        offline::{self, Accounts},
    },
    store::{Health, Keeper, Said, Standing, Store},
};

/// Opens the database; a host that cannot have one is guarded all the same. The text says what is
/// wrong with it. `in_force`: verdicts of an earlier daemon are.
pub(super) fn open(path: &Path, in_force: bool) -> Result<(Keeper, Option<String>), RunError> {
    let (mut store, warning) = match Store::open(path) {
        Ok((store, _)) => (store, None),
        Err(error) => {
            let warning = format!(
                "explanations of verdicts will not outlive this daemon: {:#}",
                anyhow::Error::from(error)
            );
            let store = Store::in_memory().map_err(|error| RunError::System {
                action: "keep records in memory",
                source: io::Error::other(error),
            })?;
            (store, Some(warning))
        }
    };
    let next_record = match store.last_number() {
        Ok(last) if warning.is_none() => last.saturating_add(1),
        // Verdicts in the kernel have numbers of records that are lost: nobody else's may be taken
        // for one of them.
        _ => milliseconds(),
    };
    let keeper =
        Keeper::start(store, next_record, in_force).map_err(|source| RunError::System {
            action: "start the thread of the database",
            source,
        })?;
    Ok((keeper, warning))
}

/// Of the wall clock; more than there will ever be records.
fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| u64::try_from(since.as_millis()).unwrap_or(1))
}

impl State {
    /// Writes what every source did, if a minute is over, and tells how the database is.
    pub(super) fn record_history(&mut self, accounts: &Accounts, now: &Moment) {
        if self.recorder.is_due(now.wall) {
            self.record_now(accounts, now);
        }
        let Health {
            failure,
            mishap,
            shortened,
            lost,
            replaced,
        } = self.store.health();
        if replaced != self.databases {
            self.databases = replaced;
            // What is in force is explained after a restart, too.
            for verdict in self.verdicts.values() {
                self.store.update(&verdict.record);
            }
        }
        let failure = failure.map(|failure| {
            format!(
                "verdicts are in force but their explanations cannot be written, nor can history: \
                 {failure}"
            )
        });
        self.warn(About::Store, failure);
        if mishap.is_some() {
            self.warn(About::Database, mishap);
        }
        let shortened = shortened.map(|reach| {
            let since = |at: Option<jiff::Timestamp>| {
                at.map_or_else(|| "nowhere".to_owned(), |at| at.to_string())
            };
            format!(
                "the database is as large as `history.max_bytes` allows, so that the oldest history \
                 was deleted before its time: minutes reach back to {}, hours to {}. Raise it, or \
                 keep less",
                since(reach.minutes_since),
                since(reach.hours_since)
            )
        });
        self.warn(About::History, shortened);
        let lost = (lost > 0).then(|| {
            format!(
                "{lost} records, minutes of history or orders were not written since this daemon \
                 started: the disk was full or too slow"
            )
        });
        self.warn(About::Lost, lost);
    }

    fn record_now(&mut self, accounts: &Accounts, now: &Moment) {
        let (registry, tenants) = (&self.kernel.registry, &self.tenants);
        let standings = accounts.registered.iter().filter_map(|(id, account)| {
            let name = registry.name(*id)?;
            let active = account.iter().filter(|(_, counters)| counters.attempts > 0);
            Some(active.map(move |(class, counters)| Standing {
                id: *id,
                name,
                package: tenants.package_of(*id),
                class: *class,
                totals: (*counters).into(),
            }))
        });
        let minute = self.recorder.look(now.wall, standings.flatten());
        self.store
            .note_minute(minute, now.wall, self.config.history);
    }

    /// Keeps for the history what a mail server said.
    pub(super) fn record_reply(&mut self, source: u32, reply: &api::Reply) {
        if let Some(name) = self.kernel.registry.name(source).map(offline::full_name) {
            let said = Said {
                server: reply.server,
                text: reply.text.clone(),
                sent_from: reply.sent_from.map(Into::into),
            };
            self.recorder.hear(&name, reply.class, said);
        }
    }

    /// Writes the minute that has begun, for the daemon is about to end.
    pub(super) fn record_the_end(&mut self) {
        let now = self.now();
        match self.accounts() {
            Ok(accounts) => self.record_now(&accounts, &now),
            Err(error) => tracing::error!(%error, "the last minute is not in the history"),
        }
        self.note_order(audit::of_daemon("stop"), None);
    }
}
