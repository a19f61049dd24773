//! Reading the pinned maps without the daemon, and what the daemon shares with that: adding up
//! what belongs to a source.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use flowguard_common::{
    class::Class,
    counters::ClassCounters,
    verdict::{
        ACTION_ALLOW, ACTION_BLOCK, ACTION_LIMIT, ACTION_NEW_DESTINATIONS, ACTION_REDIRECT,
        ACTION_SEVER, Verdict,
    },
};

use super::{
    Counters, Fallback, Identity, KernelError, Pins, Registry, Verdicts,
    clock::Moment,
    counters::add,
    fallback::{class_of, identity_of},
    generation::Generation,
};
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
        tenant: None,
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
    action_of(verdict.action)
}

/// The action that a number of the kernel stands for; none: an unknown one, which lets pass.
pub fn action_of(number: u32) -> Option<ActionName> {
    ActionName::ALL
        .into_iter()
        .find(|action| kernel_action(*action) == number)
}

/// The kernel's number for an action. A notice never comes here: the kernel is told nothing of it.
pub const fn kernel_action(action: ActionName) -> u32 {
    match action {
        ActionName::Notice | ActionName::Allow => ACTION_ALLOW,
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

/// Maps that belong together.
struct Opened {
    registry: Registry,
    counters: Counters,
    fallback: Fallback,
    verdicts: Verdicts,
}

impl Opened {
    /// Opens the maps of all sets that count. A daemon that starts may be replacing them just now:
    /// then the sets are others when all is open, and it is tried again.
    fn from(pins: &Pins) -> Result<Self, KernelError> {
        const TRIES: u32 = 100;
        let mut tries = 0;
        loop {
            let opened = Self::open_at_once(pins);
            tries += 1;
            match opened {
                Ok(Some(opened)) => return Ok(opened),
                Ok(None) | Err(_) if tries < TRIES => {}
                Ok(None) => {
                    return Err(KernelError::Unsettled {
                        path: pins.dir().to_path_buf(),
                    });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// None: the sets changed meanwhile.
    fn open_at_once(pins: &Pins) -> Result<Option<Self>, KernelError> {
        let maps = pins.readable()?;
        let opened = Self::open(&maps)?;
        Ok((pins.readable()? == maps).then_some(opened))
    }

    fn open(maps: &[Generation]) -> Result<Self, KernelError> {
        let in_force = maps.first().ok_or(KernelError::NoSuchMap { map: "maps" })?;
        Ok(Self {
            registry: Registry::open(in_force)?,
            counters: Counters::open(maps)?,
            fallback: Fallback::open(maps)?,
            verdicts: Verdicts::open(in_force)?,
        })
    }
}

/// `flowguard sources --offline`: what the pinned maps say, without a daemon.
///
/// # Errors
///
/// No guard of our contract is pinned, or its maps cannot be read.
pub fn sources(pins: &Path) -> Result<Vec<Source>, KernelError> {
    let pins = Pins::new(pins);
    let Opened {
        registry,
        counters,
        fallback,
        verdicts,
    } = Opened::from(&pins)?;
    let accounts = Accounts::read(&registry, &counters, &fallback)?;
    let now = Moment::now().map_err(|source| KernelError::File {
        action: "read the clock for",
        path: pins.dir().to_path_buf(),
        source: source.into(),
    })?;
    let verdicts = verdicts.read()?;
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
