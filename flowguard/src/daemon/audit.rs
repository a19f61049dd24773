//! Who ordered what, and what came of it.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot::{self, error::RecvError};

use super::{
    handle::{Order, Reply, RequestError},
    state::State,
};
use crate::{
    control::api::{ActionName, AuditEntry},
    model::SourceRef,
    store::StoreError,
};

/// Who does what the daemon does by itself.
pub(super) const BY_DAEMON: &str = "daemon";
/// Who sent a signal is not known.
pub(super) const BY_SIGNAL: &str = "signal";

/// Refused orders that are noted within a minute; nobody who may not order is to fill the disk.
const REFUSALS_A_MINUTE: u32 = 30;

/// How long an order waits to be on record before its answer is given all the same.
const ON_RECORD: Duration = Duration::from_secs(2);

/// Orders that were refused within a minute.
#[derive(Debug, Default)]
pub(super) struct RefusedOrders {
    minute: i64,
    count: u32,
}

impl RefusedOrders {
    /// Whether one more is to be noted.
    fn finds_room(&mut self, now: Timestamp) -> bool {
        let minute = now.as_second().div_euclid(60);
        if minute != self.minute {
            *self = Self { minute, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= REFUSALS_A_MINUTE
    }
}

fn entry(by: impl Into<String>, what: &str) -> AuditEntry {
    AuditEntry {
        entry: 0,
        at: Timestamp::now(),
        by: by.into(),
        what: what.to_owned(),
        source: None,
        detail: None,
        reason: None,
        error: None,
    }
}

/// A source as it is typed, unescaped.
fn typed(source: &SourceRef) -> String {
    match source {
        SourceRef::User(name) => format!("user:{name}"),
        SourceRef::Container(name) => format!("container:{name}"),
        SourceRef::Cgroup(path) => format!("cgroup:{path}"),
        SourceRef::Iface(name) => format!("iface:{name}"),
        SourceRef::Addr(net) => format!("addr:{net}"),
    }
}

/// A block or an allow.
pub(super) fn ordered(order: &Order) -> AuditEntry {
    let classes: Vec<_> = order
        .classes
        .iter()
        .map(|class| flowguard_common::class::Class::from(*class).name())
        .collect();
    let time = order.duration.map_or_else(
        || "until lifted".to_owned(),
        |time| format!("for {}", humantime::format_duration(time)),
    );
    let rate = order.limit.map_or_else(String::new, |limit| {
        let interval = Duration::from_nanos(limit.interval_ns);
        format!(
            ", {} at once and then one every {}",
            limit.burst,
            humantime::format_duration(interval)
        )
    });
    let what = match order.action {
        ActionName::Allow => "allow",
        _ => "block",
    };
    AuditEntry {
        source: Some(typed(&order.source)),
        detail: Some(format!(
            "{}{rate}, in {}, {time}",
            order.action,
            classes.join(" and ")
        )),
        reason: order.reason.clone(),
        ..entry(order.by.clone(), what)
    }
}

/// A lifting, of one source's verdicts or all.
pub(super) fn unblocked(source: Option<&SourceRef>, by: String) -> AuditEntry {
    AuditEntry {
        source: source.map(typed),
        detail: source.is_none().then(|| "everybody".to_owned()),
        ..entry(by, "unblock")
    }
}

/// What the daemon does by itself.
pub(super) fn of_daemon(what: &str) -> AuditEntry {
    AuditEntry {
        detail: Some(format!(
            "flowguard {}, pid {}",
            env!("CARGO_PKG_VERSION"),
            std::process::id()
        )),
        ..entry(BY_DAEMON, what)
    }
}

/// The answer to who asks for the last orders.
pub(super) fn listed(
    answer: Result<Result<Vec<AuditEntry>, StoreError>, RecvError>,
) -> Result<Vec<AuditEntry>, RequestError> {
    let reason = match answer {
        Ok(Ok(entries)) => return Ok(entries),
        Ok(Err(error)) => format!("{:#}", anyhow::Error::from(error)),
        Err(_) => "the database is too slow to answer".to_owned(),
    };
    Err(RequestError::Internal { reason })
}

impl State {
    /// A reload of the configuration.
    pub(super) fn reloaded(&self, by: String) -> AuditEntry {
        let file = self.config.origin.as_ref();
        AuditEntry {
            detail: file.map(|path| path.to_string_lossy().into_owned()),
            ..entry(by, "reload")
        }
    }

    /// Notes an order and, if nothing came of it, why.
    pub(super) fn note_order(&mut self, entry: AuditEntry, error: Option<&RequestError>) {
        match error {
            Some(error) => self.note_refusal(AuditEntry {
                error: Some(error.to_string()),
                ..entry
            }),
            None => self.store.note_order(entry),
        }
    }

    /// Notes a refused order, unless there are very many of them.
    pub(super) fn note_refusal(&mut self, entry: AuditEntry) {
        if self.refused_orders.finds_room(entry.at) {
            self.store.note_order(entry);
        } else {
            tracing::warn!(by = %entry.by, what = %entry.what, "refused, and one of too many to note");
        }
    }

    /// Answers once all that is to be written is: what an operator was told is done survives the
    /// daemon. A disk that takes long is not waited for.
    pub(super) fn once_on_record<T: Send + 'static>(
        &self,
        reply: Reply<T>,
        done: Result<T, RequestError>,
    ) {
        let written: oneshot::Receiver<()> = self.store.ask(|_| ());
        tokio::spawn(async {
            // Whether it is written in time or not, the order holds.
            drop(tokio::time::timeout(ON_RECORD, written).await);
            drop(reply.send(done));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{control::api::Limit, model::ClassName};

    #[test]
    fn an_order_is_told_in_full() {
        let order = Order {
            source: SourceRef::User("a\u{1b}".to_owned()),
            action: ActionName::Limit,
            limit: Some(Limit {
                burst: 3,
                interval_ns: 60_000_000_000,
            }),
            classes: vec![ClassName::Direct, ClassName::Relay],
            duration: Some(Duration::from_secs(90)),
            reason: Some("ticket".to_owned()),
            by: "uid:0".to_owned(),
        };
        let entry = ordered(&order);
        assert_eq!(entry.source.as_deref(), Some("user:a\u{1b}"));
        assert_eq!(
            entry.detail.as_deref(),
            Some("limit, 3 at once and then one every 1m, in direct and relay, for 1m 30s")
        );
        assert_eq!((&*entry.what, &*entry.by), ("block", "uid:0"));
    }

    #[test]
    fn refusals_are_bounded_by_the_minute() {
        let mut refused = RefusedOrders::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let noted = (0..1_000).filter(|_| refused.finds_room(at(60))).count();
        assert_eq!(noted, REFUSALS_A_MINUTE as usize);
        assert!(refused.finds_room(at(120)));
    }
}
