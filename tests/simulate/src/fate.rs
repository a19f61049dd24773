//! What became of tenants.

use crate::{kinds::Kind, mail::Millis};

/// What was done to a tenant, from the mildest to the gravest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rung {
    /// Somebody was told.
    Noticed,
    /// New servers were slowed, or everything.
    Slowed,
    /// New connections were refused.
    Blocked,
    /// Open ones were stopped, too.
    Severed,
}

/// What became of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    /// What it is.
    pub(crate) kind: Kind,
    /// The gravest thing that was done to it; to an infected one, since then.
    pub(crate) rung: Option<Rung>,
    /// By which rule; if it was stopped, by the one that did.
    pub(crate) rule: Option<String>,
    /// Connections of the infection that passed until it was stopped, or to the end.
    pub(crate) passed: u64,
    /// Of them, those of class direct.
    pub(crate) passed_direct: u64,
    /// From the infection until it was stopped.
    pub(crate) stopped_after: Option<Millis>,
}

impl Fate {
    /// Of a tenant to whom nothing happened yet.
    pub(crate) const fn of(kind: Kind) -> Self {
        Self {
            kind,
            rung: None,
            rule: None,
            passed: 0,
            passed_direct: 0,
            stopped_after: None,
        }
    }

    /// Notes what a rule did; with the time from the infection if nothing passes any more.
    pub(crate) fn note(&mut self, rung: Rung, rule: &str, stopped_after: Option<Millis>) {
        if self.stopped_after.is_none() {
            if stopped_after.is_some() || self.rung < Some(rung) {
                self.rule = Some(rule.to_owned());
            }
            self.stopped_after = stopped_after;
        }
        self.rung = self.rung.max(Some(rung));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_that_stopped_it_is_named_whatever_is_done_to_it_later() {
        let mut fate = Fate::of(Kind::FastDirect);
        for (rung, rule, stopped_after, named) in [
            (Rung::Slowed, "slows", None, "slows"),
            (Rung::Noticed, "notices", None, "slows"),
            (Rung::Blocked, "stops", Some(5), "stops"),
            (Rung::Severed, "comes later", Some(9), "stops"),
        ] {
            fate.note(rung, rule, stopped_after);
            assert_eq!(fate.rule.as_deref(), Some(named));
        }
        assert_eq!(
            (fate.rung, fate.stopped_after),
            (Some(Rung::Severed), Some(5))
        );
    }
}
