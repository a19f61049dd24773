//! What should happen to an attempt, written down a second time: as docs/policy.md tells it, in
//! other words than the code that the kernel runs, with sets, maps and numbers that cannot
//! overflow.

use std::collections::HashMap;

/// So many at once, and then one per interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Attempts at once.
    pub burst: u64,
    /// Nanoseconds.
    pub interval_ns: u64,
}

/// What somebody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Let all pass.
    Allow,
    /// Refuse what is faster.
    Limit(Pace),
    /// Refuse what is faster, of what goes to new destinations.
    NewDestinations(Pace),
    /// Send elsewhere.
    Redirect,
    /// Refuse.
    Block,
    /// Refuse, and stop what is open.
    Sever,
}

/// An action, and how it is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub action: Action,
    /// A person's word holds in observe mode as well.
    pub by_hand: bool,
    /// It holds before this moment.
    pub until_ns: Option<u64>,
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It goes on.
    Passes,
    /// It does not.
    Refused,
    /// It goes on, and is noted.
    Noted,
    /// It goes somewhere else.
    Redirected,
}

/// A source in a class.
pub type Who = (u32, u32);

/// How much of a burst is used up: the time until all of it is there again, seen at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    ns: u128,
    at_ns: u64,
}

impl Used {
    /// Takes one more, if it fits.
    fn take(&mut self, pace: Pace, now_ns: u64) -> bool {
        let one = u128::from(pace.interval_ns);
        let all = one * u128::from(pace.burst);
        let mut used = self.ns.saturating_sub(u128::from(now_ns - self.at_ns));
        if used > all {
            // Used up under a slower pace: under this one, there is one left.
            used = all - one;
        }
        if used + one > all {
            return false;
        }
        *self = Self {
            ns: used + one,
            at_ns: now_ns,
        };
        true
    }
}

/// A guard without a kernel.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    /// Whether it does what rules ask for, or notes it.
    pub enforces: bool,
    /// By class.
    pub ceilings: [Option<Pace>; 3],
    /// How long a destination is known for: to the end of the next such span after the one in which
    /// it was met.
    pub epoch_ns: u64,
    /// What is in force, or was.
    pub orders: HashMap<Who, Order>,
    used: HashMap<(Who, bool), Used>,
    /// In which span a destination was met last.
    met: HashMap<(Who, u32), u64>,
}

impl Reference {
    /// One in which nothing has happened yet, and nobody ordered anything.
    pub fn new(enforces: bool, ceilings: [Option<Pace>; 3], epoch_ns: u64) -> Self {
        Self {
            enforces,
            ceilings,
            epoch_ns,
            ..Self::default()
        }
    }

    /// The order that holds.
    fn order(&self, who: Who, now_ns: u64) -> Option<Order> {
        let order = self.orders.get(&who)?;
        let holds = order.until_ns.is_none_or(|until| now_ns < until);
        holds.then_some(*order)
    }

    fn unwanted(&self, by_hand: bool) -> Fate {
        if self.enforces || by_hand {
            Fate::Refused
        } else {
            Fate::Noted
        }
    }

    fn knows(&self, who: Who, destination: u32, now_ns: u64) -> bool {
        let met = self.met.get(&(who, destination));
        met.is_some_and(|span| now_ns / self.epoch_ns - span <= 1)
    }

    /// An attempt at a destination, which goes by the number of its bit.
    pub fn attempt(&mut self, who: Who, destination: u32, now_ns: u64) -> Fate {
        let order = self.order(who, now_ns);
        let fate = self.fate(who, order, destination, now_ns);
        let slowed = order.is_some_and(|o| matches!(o.action, Action::NewDestinations(_)));
        if !(slowed && fate == Fate::Refused) {
            self.met.insert((who, destination), now_ns / self.epoch_ns);
        }
        fate
    }

    fn fate(&mut self, who: Who, order: Option<Order>, destination: u32, now_ns: u64) -> Fate {
        if let Some(Order {
            action, by_hand, ..
        }) = order
        {
            let pace = match action {
                Action::Allow => return Fate::Passes,
                Action::Block | Action::Sever => return self.unwanted(by_hand),
                Action::Redirect => {
                    return match self.unwanted(by_hand) {
                        Fate::Refused => Fate::Redirected,
                        noted => noted,
                    };
                }
                Action::Limit(pace) => Some(pace),
                Action::NewDestinations(pace) => {
                    (!self.knows(who, destination, now_ns)).then_some(pace)
                }
            };
            if let Some(pace) = pace
                && !self.used.entry((who, true)).or_default().take(pace, now_ns)
            {
                return self.unwanted(by_hand);
            }
        }
        match self.ceilings[who.1 as usize] {
            Some(pace)
                if !self
                    .used
                    .entry((who, false))
                    .or_default()
                    .take(pace, now_ns) =>
            {
                self.unwanted(false)
            }
            _ => Fate::Passes,
        }
    }

    /// A packet of an attempt that was made before, and `was_refused` or not.
    pub fn again(&self, who: Who, was_refused: bool, now_ns: u64) -> Fate {
        match self.order(who, now_ns) {
            None if was_refused && self.ceilings[who.1 as usize].is_some() => self.unwanted(false),
            None => Fate::Passes,
            Some(order) => match order.action {
                Action::Block | Action::Sever | Action::Redirect => self.unwanted(order.by_hand),
                Action::Limit(_) | Action::NewDestinations(_) if was_refused => {
                    self.unwanted(order.by_hand)
                }
                _ => Fate::Passes,
            },
        }
    }

    /// Whether packets of open connections are stopped.
    pub fn stops(&self, who: Who, now_ns: u64) -> bool {
        self.order(who, now_ns)
            .is_some_and(|order| order.action == Action::Sever && (self.enforces || order.by_hand))
    }
}
