//! The arithmetic against a reference that was written apart from it, on a million random attempts.

use std::{cell::RefCell, collections::HashMap};

use proptest::{prelude::Rng as _, test_runner::TestRunner};

use super::*;
use crate::{
    fanout::{self, FANOUT_WORDS, Fanout},
    settings::{MODE_ENFORCE, MODE_OBSERVE},
    testing::reference::{Action, Fate, Order, Pace, Reference, Who},
    verdict::{
        ACTION_ALLOW, ACTION_BLOCK, ACTION_LIMIT, ACTION_REDIRECT, ACTION_SEVER, VERDICT_BY_HAND,
        VerdictKey,
    },
};

const WORLDS: u64 = 5_000;
const ATTEMPTS: u64 = 200;

/// A stream of numbers, the same in each run.
struct Numbers(TestRunner);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0.rng().next_u64() % end
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    /// Small, so that limits are met: the clock of these tests ticks in units.
    fn pace(&mut self) -> Pace {
        Pace {
            burst: 1 + self.below(5),
            interval_ns: 1 + self.below(900),
        }
    }

    fn order(&mut self, now_ns: u64) -> Order {
        Order {
            action: match self.below(7) {
                0 => Action::Allow,
                1 => Action::Block,
                2 => Action::Sever,
                3 => Action::Redirect,
                4 => Action::Limit(self.pace()),
                _ => Action::NewDestinations(self.pace()),
            },
            by_hand: self.chance(2),
            until_ns: self.chance(2).then(|| now_ns + self.below(800)),
        }
    }

    fn step(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => self.below(600),
            _ => self.below(30),
        }
    }
}

fn rate(pace: Pace) -> Rate {
    Rate {
        interval_ns: pace.interval_ns,
        burst: pace.burst,
    }
}

fn verdict((source, class): Who, order: &Order) -> Verdict {
    let (action, rate) = match order.action {
        Action::Allow => (ACTION_ALLOW, Rate::UNLIMITED),
        Action::Block => (ACTION_BLOCK, Rate::UNLIMITED),
        Action::Sever => (ACTION_SEVER, Rate::UNLIMITED),
        Action::Redirect => (ACTION_REDIRECT, Rate::UNLIMITED),
        Action::Limit(pace) => (ACTION_LIMIT, rate(pace)),
        Action::NewDestinations(pace) => (ACTION_NEW_DESTINATIONS, rate(pace)),
    };
    Verdict {
        key: VerdictKey { source, class },
        action,
        flags: if order.by_hand { VERDICT_BY_HAND } else { 0 },
        expires_ns: order.until_ns.unwrap_or(0),
        rate,
        record: 0,
    }
}

fn fate(decision: Decision) -> Fate {
    match decision {
        Decision::Pass => Fate::Passes,
        Decision::Deny => Fate::Refused,
        Decision::WouldDeny => Fate::Noted,
        Decision::Redirect => Fate::Redirected,
    }
}

/// The programs' maps.
#[derive(Default)]
struct Maps {
    buckets: HashMap<(Who, bool), u64>,
    fanouts: HashMap<Who, Fanout>,
}

impl Maps {
    fn attempt(
        &mut self,
        world: &Reference,
        who: Who,
        verdict: Option<&Verdict>,
        hash: u64,
        now_ns: u64,
    ) -> Decision {
        let epoch = now_ns / world.epoch_ns + 1;
        let (word, bit) = fanout::position(hash);
        let fanout = self.fanouts.entry(who).or_insert(Fanout {
            epoch: 0,
            bits: [0; FANOUT_WORDS],
            before: [0; FANOUT_WORDS],
        });
        let buckets = RefCell::new(&mut self.buckets);
        let decision = attempt(
            verdict,
            mode(world),
            now_ns,
            &world.ceilings[who.1 as usize].map_or(Rate::UNLIMITED, rate),
            || {
                let age = epoch - fanout.epoch;
                fanout::is_known(age, fanout.bits[word], fanout.before[word], bit)
            },
            |bucket, rate| {
                let mut buckets = buckets.borrow_mut();
                let level = buckets.entry((who, bucket == Bucket::Limit)).or_default();
                let next = rate.conform(*level, now_ns);
                *level = next.unwrap_or(*level);
                next.is_some()
            },
        );
        if makes_known(verdict, now_ns, decision) {
            if fanout.epoch != epoch {
                let is_next = fanout.epoch + 1 == epoch;
                fanout.before = if is_next {
                    fanout.bits
                } else {
                    [0; FANOUT_WORDS]
                };
                fanout.bits = [0; FANOUT_WORDS];
                fanout.epoch = epoch;
            }
            fanout.bits[word] |= bit;
        }
        decision
    }
}

fn mode(world: &Reference) -> u32 {
    if world.enforces {
        MODE_ENFORCE
    } else {
        MODE_OBSERVE
    }
}

#[test]
fn a_million_attempts_end_as_the_reference_says() {
    let mut numbers = Numbers(TestRunner::deterministic());
    let mut seen: HashMap<(Option<u32>, Fate), u64> = HashMap::new();
    for _ in 0..WORLDS {
        let ceilings = [(); 3].map(|()| numbers.chance(2).then(|| numbers.pace()));
        let epoch_ns = 1 + numbers.below(1_000);
        let mut world = Reference::new(numbers.chance(2), ceilings, epoch_ns);
        let mut maps = Maps::default();
        let mut verdicts: HashMap<Who, Verdict> = HashMap::new();
        // Never 0, as the kernel's clock: an end of 0 means none.
        let mut now_ns = 1 + numbers.below(1_000);
        for _ in 0..ATTEMPTS {
            now_ns += numbers.step();
            let who = (numbers.below(2) as u32, numbers.below(3) as u32);
            if numbers.chance(8) {
                let order = numbers.order(now_ns);
                world.orders.insert(who, order);
                verdicts.insert(who, verdict(who, &order));
            } else if numbers.chance(40) {
                world.orders.remove(&who);
                verdicts.remove(&who);
            } else if numbers.chance(200) {
                world.enforces = !world.enforces;
            }
            let verdict = verdicts.get(&who);
            // A few destinations, with hashes that collide and others that do not.
            let hash = numbers.below(6) | numbers.below(2) << 40;
            let decision = maps.attempt(&world, who, verdict, hash, now_ns);
            let expected = world.attempt(who, hash as u32, now_ns);
            assert_eq!(
                fate(decision),
                expected,
                "{who:?} at {now_ns} in {world:#?}"
            );
            let again = numbers.chance(2);
            let ceiling = world.ceilings[who.1 as usize].map_or(Rate::UNLIMITED, rate);
            assert_eq!(
                fate(super::again(verdict, mode(&world), now_ns, &ceiling, again)),
                world.again(who, again, now_ns),
                "again {again}: {who:?} at {now_ns} in {world:#?}"
            );
            let severs = verdict.is_some_and(|v| v.severs(mode(&world), now_ns));
            assert_eq!(severs, world.stops(who, now_ns));
            let action = verdict.filter(|v| !v.is_expired(now_ns)).map(|v| v.action);
            *seen.entry((action, expected)).or_default() += 1;
        }
    }
    assert_eq!(seen.values().sum::<u64>(), 1_000_000);
    // Whatever can happen did, often: passed, refused and noted under a ceiling, a limit and for
    // being new; the others have one answer in each mode.
    for (action, fates) in [
        (None, 3),
        (Some(ACTION_ALLOW), 1),
        (Some(ACTION_LIMIT), 3),
        (Some(ACTION_BLOCK), 2),
        (Some(ACTION_NEW_DESTINATIONS), 3),
        (Some(ACTION_REDIRECT), 2),
        (Some(ACTION_SEVER), 2),
    ] {
        let often = seen
            .iter()
            .filter(|((of, _), count)| *of == action && **count > 5_000);
        assert_eq!(often.count(), fates, "{action:?}: {seen:?}");
    }
}
