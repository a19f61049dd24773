//! The daemon's loop.

use std::{io, time::Duration};

use flowguard_common::event::{Event, Hook, NO_SOURCE, ReplyEvent};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};

use super::{
    audit, evidence,
    handle::{Handle, Request},
    lookup::Lookup,
    processes::{SETTLE, Seen},
    start::{self, Options, RunError, Started},
    state::State,
    warnings::About,
};
use crate::{
    config::Config,
    control::server::{self, Access},
    identity::{cgroup_watch::CgroupWatch, links::LinkWatch},
    kernel::{
        Identity, Record,
        offline::full_name,
        steps::{Step, reached},
    },
};

/// Threads besides the daemon's own: for the control socket and the watches.
const WORKERS: usize = 2;
/// Events taken from the ring at once, so that a flood of them does not hold up anything else.
const EVENTS_AT_ONCE: usize = 256;

/// Events taken before rules are weighed; as many as a ring of the default size holds.
const EVENTS_BEFORE_TICK: usize = 16_384;

/// Runs the daemon until a signal stops it. `ready` gets a handle once the guard is in force.
///
/// # Errors
///
/// The guard cannot be brought up, or its foundations broke. What is in the kernel goes on.
pub fn run(config: Config, options: Options, ready: impl FnOnce(Handle)) -> Result<(), RunError> {
    super::require_privilege()?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|source| RunError::System {
            action: "start the runtime",
            source,
        })?
        .block_on(guard(config, options, ready))
}

async fn guard(
    config: Config,
    options: Options,
    ready: impl FnOnce(Handle),
) -> Result<(), RunError> {
    raise_open_files();
    let mut hangup = signal_of(SignalKind::hangup())?;
    let mut terminate = signal_of(SignalKind::terminate())?;
    let mut interrupt = signal_of(SignalKind::interrupt())?;
    // Bound first: a second daemon ends here and touches nothing.
    let group = config.paths.control_group.clone();
    let listener = server::bind(&config.paths.control_socket, Some(&group))?;
    let access = Access::for_group(Some(&group)).map_err(|source| RunError::System {
        action: "read the group database",
        source,
    })?;

    let Started {
        mut state,
        mut events,
        mut lookups,
        mut seen,
    } = start::start(config, options)?;
    let (requests, mut asked) = mpsc::channel(64);
    let handle = Handle::new(requests, state.broadcast.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server::serve(listener, handle.clone(), access, async {
        // Resolves on the sender's drop as well.
        drop(stopped.await);
    }));

    let (link_events, mut links) = mpsc::channel(256);
    let mut link_watch = tokio::spawn(LinkWatch::open()?.run(link_events));
    let patterns = state.patterns.clone();
    let watch = CgroupWatch::new(&state.host.cgroup_mount, &state.host.cgroup, move |path| {
        let patterns = patterns
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        patterns.matches(path).is_none()
    })?;
    let (cgroup_events, mut cgroups) = mpsc::channel(256);
    let mut cgroup_watch = tokio::spawn(watch.run(cgroup_events));

    let mut tick = ticker(state.config.policy.tick);
    reached(Step::Ready)?;
    ready(handle);
    state.note_order(audit::of_daemon("start"), None);
    tracing::info!(adopted = state.adopted, mode = ?state.config.mode, "the guard is in force");

    loop {
        tokio::select! {
            biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                if options.interactive {
                    break;
                }
                let done = state.reload();
                state.note_order(state.reloaded(audit::BY_SIGNAL.to_owned()), done.as_ref().err());
                match done {
                    Ok(_) => tick = ticker(state.config.policy.tick),
                    Err(error) => tracing::error!("{error}"),
                }
            }
            Some(event) = links.recv() => state.on_link(event),
            Some(event) = cgroups.recv() => state.on_cgroup(event),
            Some(answer) = lookups.recv() => state.on_lookup(answer),
            Some(attempt) = seen.recv() => state.on_seen(attempt),
            _ = tick.tick() => {
                // What is counted by now is explained by events that came before.
                state.take_events(&events.ready(EVENTS_BEFORE_TICK));
                state.settle(&mut seen).await;
                state.tick();
            }
            Some(request) = asked.recv() => {
                state.settle(&mut seen).await;
                let reloads = matches!(request, Request::Reload(..));
                state.answer(request).await;
                if reloads {
                    tick = ticker(state.config.policy.tick);
                }
            }
            events = events.next(EVENTS_AT_ONCE) => {
                let events = events.map_err(|source| RunError::System {
                    action: "read the kernel's events",
                    source,
                })?;
                state.take_events(&events);
            }
            () = due(state.look_due()) => state.look_at_settling_devices(),
            () = due(state.completion_due()) => state.complete_a_device(),
            ended = &mut link_watch => return Err(broken(ended.map(|ended| ended.map_err(Into::into)))),
            ended = &mut cgroup_watch => return Err(broken(ended.map(|ended| ended.map_err(Into::into)))),
        }
    }
    tracing::info!("stopping; what is in the kernel goes on");
    state.record_the_end();
    drop(stop);
    serving
        .await
        .map_err(io::Error::from)
        .flatten()
        .map_err(|source| RunError::System {
            action: "close the control socket",
            source,
        })
}

/// Waits for a moment; for ever, if there is none.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn signal_of(kind: SignalKind) -> Result<tokio::signal::unix::Signal, RunError> {
    signal(kind).map_err(|source| RunError::System {
        action: "listen for signals",
        source,
    })
}

fn ticker(period: Duration) -> tokio::time::Interval {
    let mut tick = tokio::time::interval_at(Instant::now() + period, period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// A watch that ended, which none does on its own.
fn broken(ended: Result<Result<(), RunError>, tokio::task::JoinError>) -> RunError {
    let source = match ended {
        Ok(Err(error)) => return error,
        Ok(Ok(())) => io::ErrorKind::UnexpectedEof.into(),
        Err(error) => error.into(),
    };
    RunError::System {
        action: "go on following devices and cgroups",
        source,
    }
}

/// What strays are called in place of a source.
const STRAY: &str = "stray";

/// Who should be registered, by what the hook went by when it found nobody. None: nobody can be.
fn identity_behind(event: &Event) -> Option<Identity> {
    if event.hook == Hook::Uplink as u8 {
        return None;
    }
    Identity::from_fallback(event.key, event.id)
}

/// A pinned map, a link and a device each need a descriptor while they are handled.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::debug!(%error, "raising the limit of open files");
    }
}

impl State {
    fn on_lookup(&mut self, answer: Lookup) {
        match answer {
            Lookup::User { uid, name } => self.on_user(uid, name),
            Lookup::Groups { user, groups } => self.on_groups(user, groups),
            Lookup::Container { path, answer } => self.on_container_name(&path, answer),
            Lookup::Mapping { asked, read } => self.on_mapping(asked, read),
            Lookup::Subordinate { uid, range } => self.on_subordinate(uid, &range),
            Lookup::Uplinks(found) => self.on_uplinks(found),
            Lookup::Peers { links, peers } => self.on_peers(&links, peers),
        }
    }

    fn take_events(&mut self, events: &[Record]) {
        for event in events {
            match event {
                Record::Attempt(event) => {
                    if let Some(seen) = self.processes.look_behind(event) {
                        self.on_event(seen);
                    }
                }
                Record::Reply(reply) => self.on_reply(reply),
            }
        }
    }

    /// The process behind an attempt was looked at.
    fn on_seen(&mut self, seen: Seen) {
        self.processes.came_back(&seen);
        self.on_event(seen);
    }

    /// Waits a moment for the attempts whose processes are being looked at: what is decided now rests
    /// on them.
    async fn settle(&mut self, attempts: &mut mpsc::Receiver<Seen>) {
        let all = async {
            while self.processes.under_way > 0
                && let Some(seen) = attempts.recv().await
            {
                self.on_seen(seen);
            }
        };
        // If it takes longer, they come later.
        drop(tokio::time::timeout(SETTLE, all).await);
    }

    fn on_event(&mut self, seen: Seen) {
        self.events_received += 1;
        let event = &seen.event;
        if event.source != NO_SOURCE {
            self.keep_event(event.source, &seen);
            return;
        }
        let Some(identity) = identity_behind(event) else {
            self.on_stray(&seen);
            return;
        };
        match self.kernel.registry.lookup(identity) {
            Some(source) => self.keep_event(source, &seen),
            None => {
                if self.on_newcomer(identity) {
                    // Whoever is its own name has got it by now.
                    match self.kernel.registry.lookup(identity) {
                        Some(source) => self.keep_event(source, &seen),
                        None => self.keep_waiting(identity, seen),
                    }
                }
            }
        }
    }

    /// A mail server said no to somebody.
    fn on_reply(&mut self, reply: &ReplyEvent) {
        self.events_received += 1;
        if let Some((source, mut reply)) = evidence::readable_reply(reply, &self.now()) {
            reply.sent_from = reply.client.and_then(|client| self.sent_from(client));
            self.record_reply(source, &reply);
            self.hear(source, &reply);
            self.evidence.add_reply(source, reply);
        }
    }

    /// A connection left the host that nobody accounts for.
    fn on_stray(&mut self, seen: &Seen) {
        let Some(stray) = evidence::readable(seen, STRAY.to_owned(), &self.now()) else {
            return;
        };
        self.warn(
            About::Strays,
            Some(format!(
                "SMTP connections leave this host that belong to no source, the last one to {} port \
                 {} by a raw or packet socket of uid {}, or forwarded from a device that is no edge: \
                 find out who makes them (`flowguard events` shows them as {STRAY})",
                stray.dst, stray.dport, seen.event.uid
            )),
        );
        drop(self.broadcast.send(stray.clone()));
        self.evidence.add_stray(stray);
    }

    pub(super) fn keep_event(&mut self, source: u32, seen: &Seen) {
        let name = self
            .kernel
            .registry
            .name(source)
            .map(full_name)
            .unwrap_or_default();
        if let Some(event) = evidence::readable(seen, name, &self.now()) {
            // Nobody need be following.
            drop(self.broadcast.send(event.clone()));
            self.evidence.add(source, event);
        }
    }

    async fn answer(&mut self, request: Request) {
        self.find_tenants();
        // An asker that is gone does not need its answer.
        match request {
            Request::Status(reply) => drop(reply.send(self.status())),
            Request::Sources(reply) => drop(reply.send(self.sources())),
            Request::Show(source, reply) => match self.show(&source) {
                // The database answers in its own time, and the loop goes on.
                Ok(pending) => {
                    tokio::spawn(async { drop(reply.send(pending.finish().await)) });
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            Request::Verdicts(reply) => {
                drop(
                    reply.send(Ok(self
                        .verdicts
                        .values()
                        .map(|verdict| verdict.record.clone())
                        .collect())),
                );
            }
            Request::RecentEvents(reply) => drop(reply.send(Ok(self.evidence.recent()))),
            Request::Order(order, reply) => {
                let done = self.order(&order).await;
                self.note_order(audit::ordered(&order), done.as_ref().err());
                self.once_on_record(reply, done);
            }
            Request::Unblock(source, by, reply) => {
                let done = self.unblock(source.as_ref(), &by);
                self.note_order(audit::unblocked(source.as_ref(), by), done.as_ref().err());
                self.once_on_record(reply, done);
            }
            Request::Reload(by, reply) => {
                let done = self.reload();
                self.note_order(self.reloaded(by), done.as_ref().err());
                drop(reply.send(done));
            }
            Request::Refused(entry) => self.note_refusal(*entry),
            Request::Orders(most, reply) => {
                let answer = self.store.ask(move |store| store.orders(most));
                tokio::spawn(async { drop(reply.send(audit::listed(answer.await))) });
            }
        }
    }
}
