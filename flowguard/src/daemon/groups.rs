//! Groups of users, for rules that go by them. Nobody is asked about while no rule does.

use std::{collections::HashMap, time::Duration};

use flowguard_common::source::Kind;
use tokio::time::Instant;

use super::{lookup, state::State, warnings::About};
use crate::{identity::users::LookupError, model::SourceName};

/// How often groups are looked up again.
const AGE: Duration = Duration::from_mins(10);

/// The groups of users, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_source: HashMap<u32, Vec<String>>,
    /// When all of them are looked up again; none: at once.
    due: Option<Instant>,
}

impl Groups {
    /// The groups of a source; none if it is no user, or they are not known yet.
    pub(super) fn of(&self, source: u32) -> &[String] {
        self.by_source.get(&source).map_or(&[], Vec::as_slice)
    }

    /// Has all of them looked up again soon.
    pub(super) fn expire(&mut self) {
        self.due = None;
    }
}

impl State {
    fn goes_by_groups(&self) -> bool {
        let rules = &self.config.judgement.rules;
        rules.iter().any(|rule| !rule.groups.is_empty())
    }

    /// Has the groups of a user looked up who is new.
    pub(super) fn ask_groups(&self, source: &SourceName) {
        if source.kind == Kind::User && self.goes_by_groups() {
            lookup::groups(vec![source.name.clone()], &self.lookups);
        }
    }

    /// Has the groups of all users looked up, if it is time.
    pub(super) fn look_groups_up_again(&mut self) {
        let now = Instant::now();
        if !self.goes_by_groups() || self.groups.due.is_some_and(|due| due > now) {
            return;
        }
        self.groups.due = Some(now + AGE);
        let users = self.kernel.registry.sources();
        let users = users.filter(|(_, source)| source.kind == Kind::User);
        let users = users.map(|(_, source)| source.name.clone()).collect();
        lookup::groups(users, &self.lookups);
    }

    /// The name service answered. While it fails, groups stay what they were.
    pub(super) fn on_groups(&mut self, user: String, groups: Result<Vec<String>, LookupError>) {
        let failure = groups.as_ref().err().map(|error| {
            format!("rules that go by groups judge by what was known of them before: {error}")
        });
        self.warn(About::Groups, failure);
        if let (Ok(groups), Some(source)) =
            (groups, self.kernel.registry.id(&SourceName::user(user)))
        {
            self.groups.by_source.insert(source, groups);
        }
    }
}
