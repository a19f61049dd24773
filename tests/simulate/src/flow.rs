//! When somebody sends, and where to.

use fastrand::Rng;
use flowguard::model::ClassName;

use crate::{
    mail::{Millis, Quality},
    world::Server,
};

/// A day.
pub(crate) const DAY: Millis = 86_400_000;
const HOUR: Millis = 3_600_000;
const MINUTE: Millis = 60_000;

/// What one program of a tenant does.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// Which class its connections are of; of several, each is drawn.
    pub(crate) classes: &'static [ClassName],
    /// When.
    pub(crate) schedule: Schedule,
    /// Where to.
    pub(crate) servers: Servers,
    /// What comes of it.
    pub(crate) quality: Quality,
    /// Whether it comes again after it was put off.
    pub(crate) retries: bool,
    /// From when on, and until when.
    pub(crate) from: Millis,
    /// When it ends.
    pub(crate) until: Millis,
}

/// When connections are made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Schedule {
    /// At random, more of them by day; so many a day.
    Daily(f64),
    /// At random at any hour; so many an hour.
    Hourly(f64),
    /// One after the other, about so far apart.
    Every(Millis),
    /// So many in one go, `apart` each; once in `every`, first at `first`.
    Bursts {
        /// How many.
        size: u32,
        /// Between two of them.
        apart: Millis,
        /// From one burst to the next.
        every: Millis,
        /// When the first begins.
        first: Millis,
    },
}

/// Where connections lead.
#[derive(Clone, Debug)]
pub(crate) enum Servers {
    /// To some few.
    Few(Vec<Server>),
    /// To the recipients of a list, one after the other.
    List(Vec<Server>),
    /// To anybody in the world.
    Anybody,
    /// To anybody, and more to small servers than mailboxes are there: lists that were bought.
    Harvested,
}

impl Flow {
    /// Draws the time of the next connection after one at `now`; none: there is none.
    pub(crate) fn next(&self, now: Millis, rng: &mut Rng) -> Option<Millis> {
        let at = match self.schedule {
            Schedule::Daily(count) => by_day(now, count, rng),
            Schedule::Hourly(count) => now + exponential(HOUR as f64 / count, rng),
            Schedule::Every(apart) => now + apart / 2 + rng.u64(0..=apart),
            Schedule::Bursts {
                size,
                apart,
                every,
                first,
            } => {
                let lasts = u64::from(size) * apart;
                let since = now.saturating_sub(first);
                if now >= first && since % every + apart < lasts {
                    now + apart / 2 + rng.u64(0..=apart)
                } else if now < first {
                    first
                } else {
                    first + (since / every + 1) * every
                }
            }
        };
        (at < self.until).then_some(at)
    }

    /// Draws where the `n`-th connection leads.
    pub(crate) fn server(&self, n: u64, rng: &mut Rng) -> Server {
        match &self.servers {
            Servers::Few(servers) => servers[rng.usize(0..servers.len())],
            Servers::List(servers) => servers[n as usize % servers.len()],
            Servers::Anybody => Server::of_anybody(rng),
            Servers::Harvested if rng.bool() => Server::small(rng),
            Servers::Harvested => Server::of_anybody(rng),
        }
    }

    /// Draws the class of a connection.
    pub(crate) fn class(&self, rng: &mut Rng) -> ClassName {
        self.classes[rng.usize(0..self.classes.len())]
    }

    /// How long an honest sender waits before it comes again: RFC 5321, section 4.5.4.1, asks for
    /// 30 minutes; Postfix begins with 5.
    pub(crate) fn pause(rng: &mut Rng) -> Millis {
        rng.u64(5 * MINUTE..30 * MINUTE)
    }
}

/// A process whose rate follows the hour: nine tenths of a day's mail between 7 and 22 o'clock.
fn by_day(now: Millis, per_day: f64, rng: &mut Rng) -> Millis {
    let mut at = now;
    loop {
        // Thinned out of the highest rate (Lewis and Shedler, 1979).
        at += exponential(15.0 * HOUR as f64 / (0.9 * per_day), rng);
        let hour = at / HOUR % 24;
        let share = if (7..22).contains(&hour) {
            1.0
        } else {
            (0.1 / 9.0) / (0.9 / 15.0)
        };
        if rng.f64() < share {
            return at;
        }
    }
}

fn exponential(mean: f64, rng: &mut Rng) -> Millis {
    (-mean * (1.0 - rng.f64()).ln()).max(1.0) as Millis
}
