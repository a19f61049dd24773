//! Reading the pinned maps without the daemon, and what the daemon shares with that: adding up
//! what belongs to a source.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use flowguard_common::{
    class::Class,
    counters::ClassCounters,
    source::FallbackKey,
    verdict::{
        ACTION_ALLOW, ACTION_BLOCK, ACTION_LIMIT, ACTION_NEW_DESTINATIONS, ACTION_REDIRECT,
        ACTION_SEVER, Verdict,
    },
};

use super::{Counters, Fallback, Identity, KernelError, Pins, Registry, Verdicts, clock::Moment};
use crate::{
    control::api::{ActionName, Source},
    model::{ClassName, SourceName, Totals},
};

/// Counters of a source in all classes.
pub type Account = BTreeMap<ClassName, ClassCounters>;

/// The sum of everything counted, by who it belongs to.
#[derive(Debug, Default)]
pub struct Accounts {
    /// By source id.
    pub registered: HashMap<u32, Account>,
    /// By identity, where nobody is registered.
    pub unregistered: HashMap<Identity, Account>,
    /// Entries of the fallback, of those who are registered by now as well.
    pub fallback_entries: u64,
}

impl Accounts {
    /// Adds up counters and fallback.
    ///
    /// # Errors
    ///
    /// The fallback cannot be read.
    pub fn read(
        registry: &Registry,
        counters: &Counters,
        fallback: &Fallback,
    ) -> Result<Self, KernelError> {
        let mut accounts = Self::default();
        for (id, _) in registry.sources() {
            let account = accounts.registered.entry(id).or_default();
            for class in Class::ALL {
                account.insert(class.into(), counters.read(id, class));
            }
        }
        for (key, more) in fallback.read()? {
            accounts.fallback_entries += 1;
            let (Some(identity), Some(class)) = (identity_of(&key), class_of(&key)) else {
                continue;
            };
            let account = match registry.lookup(identity) {
                Some(id) => accounts.registered.entry(id).or_default(),
                None => accounts.unregistered.entry(identity).or_default(),
            };
            add(account.entry(class.into()).or_default(), &more);
        }
        Ok(accounts)
    }
}

fn identity_of(key: &FallbackKey) -> Option<Identity> {
    Identity::from_fallback(key.kind, key.id)
}

fn class_of(key: &FallbackKey) -> Option<Class> {
    u8::try_from(key.class).ok().and_then(Class::from_u8)
}

fn add(to: &mut ClassCounters, more: &ClassCounters) {
    to.attempts += more.attempts;
    to.denied += more.denied;
    to.would_deny += more.would_deny;
    to.destinations += more.destinations;
    to.retransmits += more.retransmits;
    to.established += more.established;
    to.refused += more.refused;
    to.timed_out += more.timed_out;
    to.redirected += more.redirected;
    to.bytes += more.bytes;
    for (to, more) in to.replies.iter_mut().zip(more.replies) {
        *to += more;
    }
    to.messages += more.messages;
    to.encrypted += more.encrypted;
    to.open_ms += more.open_ms;
    to.last_seen_ns = to.last_seen_ns.max(more.last_seen_ns);
}

/// What an account looks like to people and programs.
pub fn summary(name: &SourceName, id: Option<u32>, account: &Account, now: &Moment) -> Source {
    let last_seen_ns = account
        .values()
        .map(|counters| counters.last_seen_ns)
        .max()
        .unwrap_or(0);
    Source {
        source: full_name(name),
        kind: name.kind.name().to_owned(),
        name: name.name.clone(),
        id,
        exempt: None,
        classes: account
            .iter()
            .map(|(class, counters)| (*class, Totals::from(*counters)))
            .collect(),
        last_seen: (last_seen_ns != 0).then(|| now.wall_at(last_seen_ns)),
        verdict: None,
    }
}

/// How the names of namespaces begin that nothing better is known of. The number behind it is good
/// until the next reboot.
pub const NETNS_PREFIX: &str = "netns-";

/// The name an identity goes by until somebody registers it.
pub fn provisional_name(identity: Identity) -> SourceName {
    match identity {
        Identity::Uid(uid) => SourceName::user(format!("#{uid}")),
        Identity::Netns(cookie) => SourceName::container(format!("{NETNS_PREFIX}{cookie}")),
        Identity::Cgroup(id) => SourceName::container(format!("cgroup-{id}")),
        Identity::Edge(ifindex) => SourceName::iface(format!("ifindex-{ifindex}")),
        Identity::Addr(net) => SourceName::addr(net),
    }
}

/// What a verdict is called; none: it does nothing any more.
pub fn action_name(verdict: &Verdict, now: &Moment) -> Option<ActionName> {
    if verdict.is_expired(now.boot_ns()) {
        return None;
    }
    ActionName::ALL
        .into_iter()
        .find(|action| kernel_action(*action) == verdict.action)
}

/// The kernel's number for an action.
pub const fn kernel_action(action: ActionName) -> u32 {
    match action {
        ActionName::Allow => ACTION_ALLOW,
        ActionName::NewDestinations => ACTION_NEW_DESTINATIONS,
        ActionName::Limit => ACTION_LIMIT,
        ActionName::Redirect => ACTION_REDIRECT,
        ActionName::Block => ACTION_BLOCK,
        ActionName::Sever => ACTION_SEVER,
    }
}

/// The gravest of some verdicts, as the source list shows it.
pub fn gravest(actions: impl Iterator<Item = ActionName>) -> Option<String> {
    actions.max().map(|action| action.to_string())
}

/// `flowguard sources --offline`: what the pinned maps say, without a daemon.
///
/// # Errors
///
/// No guard of our contract is pinned, or its maps cannot be read.
pub fn sources(pins: &Path) -> Result<Vec<Source>, KernelError> {
    let pins = Pins::new(pins);
    pins.require()?;
    let registry = Registry::open(&pins)?;
    let accounts = Accounts::read(&registry, &Counters::open(&pins)?, &Fallback::open(&pins)?)?;
    let now = Moment::now().map_err(|source| KernelError::File {
        action: "read the clock for",
        path: pins.dir().to_path_buf(),
        source: source.into(),
    })?;
    let verdicts = Verdicts::open(&pins)?.read()?;
    let mut sources = Vec::new();
    for (id, name) in registry.sources() {
        let Some(account) = accounts.registered.get(&id) else {
            continue;
        };
        let mut source = summary(name, Some(id), account, &now);
        source.verdict = gravest(
            verdicts
                .iter()
                .filter(|(of, _, verdict)| *of == id && !verdict.is_exemption())
                .filter_map(|(_, _, verdict)| action_name(verdict, &now)),
        );
        sources.push(source);
    }
    for (identity, account) in &accounts.unregistered {
        sources.push(summary(&provisional_name(*identity), None, account, &now));
    }
    sources.sort_by(|a, b| a.source.cmp(&b.source));
    Ok(sources)
}

/// `kind:name`, unescaped: what goes into JSON and records.
pub fn full_name(name: &SourceName) -> String {
    format!("{}:{}", name.kind.name(), name.name)
}
