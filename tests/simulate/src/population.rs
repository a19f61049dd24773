//! What each kind of tenant sends.
//!
//! Shares and volumes are estimates, made before any rule was tried on them, from what hosters allow
//! (10 to 2,000 mails an hour by plan), from the figures of a real bot (1,560 connections in 20
//! minutes, 98 % of them to submission ports, 468 servers in ten) and of small honest mail servers
//! (15 servers in ten minutes, 13 % failures). What is known is said; what is not is on the hard side:
//! honest mail servers without TLS, honest tenants with accounts at many providers, bots whose
//! recipients exist.

use fastrand::Rng;
use flowguard::model::ClassName::{self, Direct, Relay, Submission};

use crate::{
    flow::{DAY, Flow, Schedule, Servers},
    kinds::Kind,
    mail::{Millis, Quality},
    world::{Server, list},
};

/// Tenants of one population.
pub(crate) const TENANTS: usize = 10_000;
/// Days in which nobody is infected, so that habits are known.
pub(crate) const QUIET: Millis = 2 * DAY;
/// Until then infections begin; what is infected goes on to the end.
pub(crate) const INFECTED: Millis = 3 * DAY;
/// The end: a day for the last of them.
pub(crate) const END: Millis = 4 * DAY;

/// A tenant: its kind, what it does, and when it was infected.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    /// What it is.
    pub(crate) kind: Kind,
    /// What runs there.
    pub(crate) flows: Vec<Flow>,
    /// When it was infected, if it is.
    pub(crate) infected: Option<Millis>,
}

/// Mail of a well-run server.
const HONEST: Quality = Quality {
    silent: 0.02,
    refused: 0.01,
    tls: 0.92,
    unknown_user: 0.02,
    greylisted: 0.03,
    rejected: 0.002,
    messages: 2,
};

/// Mail to a server that is there for it.
const AT_HOME: Quality = Quality {
    silent: 0.001,
    refused: 0.001,
    tls: 0.95,
    unknown_user: 0.001,
    greylisted: 0.0,
    rejected: 0.0,
    messages: 1,
};

/// Spam to lists that were bought: a third of the servers do not answer or refuse, and of the rest many
/// have no such mailbox or know the address it comes from.
const HARVESTED: Quality = Quality {
    silent: 0.17,
    refused: 0.13,
    tls: 0.0,
    unknown_user: 0.25,
    greylisted: 0.10,
    rejected: 0.15,
    messages: 1,
};

/// The population of a seed.
pub(crate) fn population(rng: &mut Rng) -> Vec<Tenant> {
    // Those who are controlled together begin together.
    let wave = infection(rng);
    let mut tenants = Vec::with_capacity(TENANTS);
    for kind in Kind::ALL {
        for _ in 0..kind.count() {
            tenants.push(tenant(kind, wave, rng));
        }
    }
    tenants
}

/// When somebody is infected: at any time of the third day.
fn infection(rng: &mut Rng) -> Millis {
    rng.u64(QUIET..INFECTED)
}

fn tenant(kind: Kind, wave: Millis, rng: &mut Rng) -> Tenant {
    let host = if kind.is_infected() {
        // Whoever is infected was somebody before.
        [Kind::ContactForm, Kind::Shop, Kind::Cron, Kind::Smarthost][rng.usize(0..4)]
    } else {
        kind
    };
    let mut flows = vec![honest(host, rng)];
    let infected = kind.is_infected().then(|| {
        let since = match kind {
            Kind::Together => wave + rng.u64(0..600_000),
            _ => infection(rng),
        };
        flows.push(infection_of(kind, since, rng));
        since
    });
    Tenant {
        kind,
        flows,
        infected,
    }
}

fn flow(
    class: &'static [ClassName],
    schedule: Schedule,
    servers: Servers,
    quality: Quality,
) -> Flow {
    Flow {
        classes: class,
        schedule,
        servers,
        quality,
        retries: true,
        from: 0,
        until: END,
    }
}

fn honest(kind: Kind, rng: &mut Rng) -> Flow {
    let few = |rng: &mut Rng, most: usize| {
        let count = rng.usize(1..=most);
        Servers::Few((0..count).map(|_| Server::of_anybody(rng)).collect())
    };
    let any_hour = rng.u64(0..DAY);
    match kind {
        Kind::ContactForm => flow(
            &[Relay],
            Schedule::Daily(uneven(rng, 1.0, 30.0)),
            few(rng, 1),
            AT_HOME,
        ),
        // A provider's name has some addresses.
        Kind::Shop => flow(
            &[Submission],
            Schedule::Daily(uneven(rng, 5.0, 200.0)),
            few(rng, 6),
            AT_HOME,
        ),
        Kind::NewsletterRelayed => flow(
            &[Submission],
            burst(rng.u32(100..3_000), rng.u64(20..500), any_hour),
            few(rng, 6),
            AT_HOME,
        ),
        Kind::NewsletterDirect => {
            let size = rng.u32(100..2_000);
            let readers = list(rng, size as usize);
            let schedule = burst(size, rng.u64(300..5_000), any_hour);
            flow(&[Direct], schedule, Servers::List(readers), HONEST)
        }
        Kind::NewsletterNew => {
            let size = rng.u32(100..1_000);
            let readers = list(rng, size as usize);
            let schedule = burst(size, rng.u64(300..5_000), QUIET + any_hour);
            flow(&[Direct], schedule, Servers::List(readers), HONEST)
        }
        Kind::Cron => {
            let classes: &[ClassName] = if rng.u32(0..3) == 0 {
                &[Direct]
            } else {
                &[Relay]
            };
            let schedule = burst(rng.u32(1..6), 500, rng.u64(0..5_000));
            flow(classes, schedule, few(rng, 2), AT_HOME)
        }
        Kind::MailServer | Kind::MailServerPlain => {
            // People write to those they know: most mail goes where mail went before.
            let known = list(rng, rng.clone().usize(8..60));
            let quality = Quality {
                greylisted: 0.3,
                tls: if kind == Kind::MailServer { 0.92 } else { 0.0 },
                messages: 1,
                ..HONEST
            };
            let schedule = Schedule::Daily(uneven(rng, 10.0, 300.0));
            flow(&[Direct], schedule, Servers::Few(known), quality)
        }
        Kind::BrokenForm => {
            let dead = if rng.bool() { (0.0, 1.0) } else { (1.0, 0.0) };
            let quality = Quality {
                silent: dead.0,
                refused: dead.1,
                ..AT_HOME
            };
            Flow {
                retries: false,
                ..flow(
                    &[Direct],
                    Schedule::Every(rng.u64(5_000..300_000)),
                    few(rng, 1),
                    quality,
                )
            }
        }
        Kind::MailingList => {
            let readers = list(rng, rng.clone().usize(20..250));
            let size = readers.len() as u32;
            let quality = Quality {
                silent: 0.05,
                refused: 0.02,
                unknown_user: 0.05,
                ..HONEST
            };
            let schedule = Schedule::Bursts {
                size,
                apart: rng.u64(200..2_000),
                every: DAY / rng.u64(1..8),
                first: any_hour,
            };
            flow(&[Direct], schedule, Servers::List(readers), quality)
        }
        Kind::ManyAccounts => {
            let accounts = list(rng, rng.clone().usize(8..30));
            flow(
                &[Submission],
                Schedule::Daily(uneven(rng, 50.0, 400.0)),
                Servers::Few(accounts),
                AT_HOME,
            )
        }
        _ => flow(
            &[Submission],
            Schedule::Daily(uneven(rng, 20.0, 1_000.0)),
            few(rng, 1),
            AT_HOME,
        ),
    }
}

fn infection_of(kind: Kind, since: Millis, rng: &mut Rng) -> Flow {
    let every = Schedule::Every(rng.u64(100..2_000));
    let (classes, schedule, servers, quality): (&[ClassName], _, _, _) = match kind {
        Kind::Slow => (
            &[Direct],
            Schedule::Hourly(rng.f64() * 10.0 + 2.0),
            Servers::Harvested,
            HARVESTED,
        ),
        Kind::Together => (
            &[Direct],
            Schedule::Hourly(rng.f64() * 7.0 + 3.0),
            Servers::Harvested,
            HARVESTED,
        ),
        Kind::ValidRecipients => {
            let quality = Quality {
                silent: 0.03,
                refused: 0.02,
                tls: 0.5,
                unknown_user: 0.04,
                greylisted: 0.08,
                rejected: 0.08,
                messages: 1,
            };
            (&[Direct], every, Servers::Anybody, quality)
        }
        Kind::StolenAccounts => {
            let quality = Quality {
                silent: 0.08,
                refused: 0.05,
                tls: 0.95,
                ..AT_HOME
            };
            (&[Submission], every, Servers::Harvested, quality)
        }
        Kind::PortHopping => (&[Direct, Submission], every, Servers::Harvested, HARVESTED),
        _ => (&[Direct], every, Servers::Harvested, HARVESTED),
    };
    Flow {
        retries: false,
        from: since,
        ..flow(classes, schedule, servers, quality)
    }
}

fn burst(size: u32, apart: Millis, first: Millis) -> Schedule {
    Schedule::Bursts {
        size,
        apart,
        every: DAY,
        first,
    }
}

/// Between two values, the lower ones more often: evenly over the logarithm.
fn uneven(rng: &mut Rng, least: f64, most: f64) -> f64 {
    least * (most / least).powf(rng.f64())
}
