//! What operators order, and whom they mean.

use std::time::Duration;

use flowguard_common::{
    class::Class,
    verdict::{Rate, VERDICT_BY_HAND},
};

use super::{
    handle::{Order, RequestError},
    state::State,
    verdicts::{InForce, expires_ns, until},
    warnings::About,
};
use crate::{
    control::api::{ActionName, Unblocked, VerdictRecord},
    identity::{cgroup, users},
    kernel::{Identity, KernelError, Terms, offline},
    model::{SourceName, SourceRef, escape},
};

/// How long a name service may take when an operator waits for it.
const NAME_SERVICE: Duration = Duration::from_secs(5);

/// Digits of a container id that name it.
const SHORT_ID: usize = 12;

impl From<KernelError> for RequestError {
    fn from(error: KernelError) -> Self {
        Self::Internal {
            reason: format!("{:#}", anyhow::Error::from(error)),
        }
    }
}

impl State {
    /// Carries out an order; the new records, one per class.
    pub(super) async fn order(
        &mut self,
        order: &Order,
    ) -> Result<Vec<VerdictRecord>, RequestError> {
        if order.action == ActionName::Redirect && self.config.guard.smarthosts.is_empty() {
            return Err(RequestError::BadRequest {
                reason: "there is no smarthost to redirect to: write `guard.smarthosts` into the \
                         configuration and `flowguard reload`"
                    .to_owned(),
            });
        }
        let source = self.source_for_order(&order.source).await?;
        let now = self.now();
        let name = self
            .kernel
            .registry
            .name(source)
            .map(offline::full_name)
            .unwrap_or_default();
        let mut records = Vec::new();
        for class in &order.classes {
            let record = VerdictRecord {
                record: 0,
                source: name.clone(),
                class: *class,
                action: order.action,
                rule: None,
                by: order.by.clone(),
                reason: order.reason.clone(),
                limit: order.limit,
                mode: self.config.mode,
                since: now.wall,
                until: until(&now, order.duration),
                ended: None,
                observations: Vec::new(),
                step: None,
                likelihood: None,
                events: self.evidence.of(source, Some(*class)),
                replies: self.evidence.replies_of(source, Some(*class)),
            };
            let terms = Terms {
                action: offline::kernel_action(order.action),
                flags: VERDICT_BY_HAND,
                expires_ns: expires_ns(&now, order.duration),
                rate: order.limit.map(Rate::from).unwrap_or_default(),
                record: 0,
            };
            records.push(self.install(source, record, terms)?);
        }
        tracing::warn!(source = %order.source, by = %order.by, action = %order.action, "ordered");
        Ok(records)
    }

    /// Says so if somebody is to be redirected and there is nowhere to send them.
    pub(super) fn look_at_redirections(&mut self) {
        let redirects = |verdict: &&InForce| verdict.record.action == ActionName::Redirect;
        let lost = match self.config.guard.smarthosts.len() {
            0 => self.verdicts.values().filter(redirects).count(),
            _ => 0,
        };
        let what = (lost > 0).then(|| {
            format!(
                "{lost} verdicts redirect to a smarthost, but `guard.smarthosts` is empty: what \
                 they concern is refused instead; name a smarthost, or lift them"
            )
        });
        self.warn(About::Smarthosts, what);
    }

    /// Lifts the verdicts of one source, or all.
    pub(super) fn unblock(
        &mut self,
        source: Option<&SourceRef>,
        by: &str,
    ) -> Result<Unblocked, RequestError> {
        let only = source.map(|source| self.known_source(source)).transpose()?;
        let keys: Vec<(u32, Class)> = self
            .verdicts
            .keys()
            .filter(|(id, _)| only.is_none_or(|only| only == *id))
            .copied()
            .collect();
        let mut lifted = Vec::new();
        for (id, class) in keys {
            lifted.extend(self.lift(id, class, by)?);
        }
        tracing::warn!(by, lifted = lifted.len(), "unblocked");
        Ok(Unblocked { lifted })
    }

    /// The id of a source that is known.
    pub(super) fn known_source(&self, source: &SourceRef) -> Result<u32, RequestError> {
        self.find(source).ok_or_else(|| RequestError::NoSuchSource {
            source_ref: source.clone(),
        })
    }

    fn find(&self, source: &SourceRef) -> Option<u32> {
        let registry = &self.kernel.registry;
        match source {
            SourceRef::User(name) => registry.id(&SourceName::user(name.as_str())).or_else(|| {
                let uid = name.trim_start_matches('#').parse().ok()?;
                registry.lookup(Identity::Uid(uid))
            }),
            SourceRef::Container(name) => registry
                .id(&SourceName::container(name.as_str()))
                .or_else(|| {
                    let short = name.get(..SHORT_ID).filter(|_| is_id(name))?;
                    registry.id(&SourceName::container(short)).or_else(|| {
                        registry.lookup(Identity::Cgroup(self.cgroup_of_container(name)?))
                    })
                }),
            SourceRef::Cgroup(path) => {
                let id =
                    cgroup::cgroup_id(&cgroup::directory(&self.host.cgroup_mount, path)).ok()?;
                registry.lookup(Identity::Cgroup(id))
            }
            SourceRef::Iface(name) => registry.id(&SourceName::iface(name.as_str())),
            SourceRef::Addr(net) => {
                let meant = self.prefix_meant(*net).ok();
                meant
                    .and_then(|net| registry.id(&SourceName::addr(net)))
                    // One of a length that was configured before.
                    .or_else(|| registry.id(&SourceName::addr(*net)))
            }
        }
    }

    /// The id of a source that need not have been active yet: users and cgroups that exist are
    /// registered.
    async fn source_for_order(&mut self, source: &SourceRef) -> Result<u32, RequestError> {
        if let SourceRef::Addr(net) = source {
            let net = self.prefix_meant(*net)?;
            let id = self.register(&SourceName::addr(net))?;
            self.kernel.registry.lead(Identity::Addr(net), id)?;
            return Ok(id);
        }
        if let Some(id) = self.find(source) {
            return Ok(id);
        }
        let missing = || RequestError::NoSuchSource {
            source_ref: source.clone(),
        };
        let (identity, name) = match source {
            SourceRef::User(user) => user_identity(user).await?.ok_or_else(missing)?,
            SourceRef::Cgroup(path) => {
                self.check_cgroup(path)?;
                let directory = cgroup::directory(&self.host.cgroup_mount, path);
                let id = cgroup::cgroup_id(&directory).map_err(|_| missing())?;
                (Identity::Cgroup(id), SourceName::container(path.as_str()))
            }
            SourceRef::Container(_) | SourceRef::Iface(_) | SourceRef::Addr(_) => {
                return Err(missing());
            }
        };
        let id = self.register(&name)?;
        self.kernel.registry.lead(identity, id)?;
        if let (Identity::Cgroup(cgroup), SourceRef::Cgroup(path)) = (identity, source) {
            self.cgroups.insert(cgroup, path.clone());
        }
        Ok(id)
    }
}

impl State {
    /// Refuses cgroups that stand for the whole host, that are not guarded, or whose path can be
    /// written in another way.
    fn check_cgroup(&self, path: &str) -> Result<(), RequestError> {
        let bad = |reason: &str| {
            Err(RequestError::BadRequest {
                reason: format!("`cgroup:{}` {reason}", escape(path)),
            })
        };
        let plain = path
            .split('/')
            .skip(1)
            .all(|part| !matches!(part, "" | "." | ".."));
        if !path.starts_with('/') || !plain {
            return bad("is no plain path from the cgroup root, such as /system.slice/web.service");
        }
        let guarded = self.host.cgroup.trim_end_matches('/');
        if !path
            .strip_prefix(guarded)
            .is_some_and(|rest| rest.starts_with('/'))
        {
            return bad("is not below the guarded cgroup");
        }
        Ok(())
    }
}

fn is_id(name: &str) -> bool {
    name.len() >= SHORT_ID && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Asks the name service who `user:TEXT` is.
async fn user_identity(text: &str) -> Result<Option<(Identity, SourceName)>, RequestError> {
    let text = text.to_owned();
    let look = tokio::task::spawn_blocking(move || {
        let Some(uid) = users::uid_of(&text)? else {
            return Ok(None);
        };
        let name = users::user_name(uid)?.unwrap_or_else(|| format!("#{uid}"));
        Ok::<_, users::LookupError>(Some((Identity::Uid(uid), SourceName::user(name))))
    });
    let failed = |reason: String| RequestError::Internal { reason };
    match tokio::time::timeout(NAME_SERVICE, look).await {
        Ok(Ok(Ok(found))) => Ok(found),
        Ok(Ok(Err(error))) => Err(failed(format!("cannot look the user up: {error}"))),
        Ok(Err(error)) => Err(failed(format!("the look-up of the user failed: {error}"))),
        Err(_) => Err(failed(
            "the name service does not answer: give the user as user:UID instead".to_owned(),
        )),
    }
}
