//! What the kernel does with twenty thousand connections, one by one, against the reference that
//! says what it should do.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use flowguard_common::{
    class::{CLASSES, Class},
    event::Event,
    settings::{MODE_ENFORCE, MODE_OBSERVE},
    testing::reference::{Action, Fate, Order, Pace, Reference, Who},
    verdict::{
        ACTION_ALLOW, ACTION_BLOCK, ACTION_LIMIT, ACTION_NEW_DESTINATIONS, ACTION_REDIRECT,
        ACTION_SEVER, Decision, Rate, VERDICT_BY_HAND, Verdict, VerdictKey,
    },
};
use flowguard_tests::{
    client, config::Config, fanout::Seed, feature, guard::Guard, lab::Lab, pinned::Pinned,
    process::Job, users::User,
};
use proptest::{prelude::Rng as _, test_runner::TestRunner};

const ROUNDS: usize = 40;
const CONNECTIONS: usize = 500;
const USERS: u32 = 4;
/// Longer than a round takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Short, so that destinations are forgotten while the test runs.
const EPOCH_NS: u64 = 2_000_000_000;
const MILLISECOND: u64 = 1_000_000;
const SMARTHOST: &str = "198.18.7.25";

/// A stream of numbers, the same in each run.
struct Numbers(TestRunner);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0.rng().next_u64() % end
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    /// About as fast as the connections of a user in a class come, and half an hour for one in four:
    /// bursts that do not fill again.
    fn pace(&mut self) -> Pace {
        let interval = if self.chance(4) {
            1_800_000
        } else {
            1 + self.below(20)
        };
        Pace {
            burst: 1 + self.below(20),
            interval_ns: interval * MILLISECOND,
        }
    }

    fn order(&mut self, now_ns: u64) -> Order {
        Order {
            action: match self.below(8) {
                0 => Action::Allow,
                1 => Action::Block,
                2 => Action::Sever,
                3 => Action::Redirect,
                4 | 5 => Action::Limit(self.pace()),
                _ => Action::NewDestinations(self.pace()),
            },
            by_hand: self.chance(2),
            until_ns: (now_ns > 0 && self.chance(3))
                .then(|| now_ns + self.below(400) * MILLISECOND),
        }
    }

    /// Somebody, and where to, in one of the classes.
    fn connection(&mut self) -> (u32, SocketAddr) {
        let user = self.below(USERS.into()) as u32;
        let last = 1 + self.below(30) as u8;
        let v4 = |second| IpAddr::from([198, second, 0, last]);
        let v6 = IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, last.into()]);
        let (address, port) = match self.below(5) {
            0 => (v4(18), 25),
            1 => (v6, 25),
            2 => (v4(18), 587),
            3 => (v6, 465),
            _ => (v4(19), 25),
        };
        (user, SocketAddr::new(address, port))
    }
}

fn rate(pace: Pace) -> Rate {
    Rate {
        interval_ns: pace.interval_ns,
        burst: pace.burst,
    }
}

fn verdict(key: VerdictKey, order: &Order) -> Verdict {
    let (action, rate) = match order.action {
        Action::Allow => (ACTION_ALLOW, Rate::UNLIMITED),
        Action::Block => (ACTION_BLOCK, Rate::UNLIMITED),
        Action::Sever => (ACTION_SEVER, Rate::UNLIMITED),
        Action::Redirect => (ACTION_REDIRECT, Rate::UNLIMITED),
        Action::Limit(pace) => (ACTION_LIMIT, rate(pace)),
        Action::NewDestinations(pace) => (ACTION_NEW_DESTINATIONS, rate(pace)),
    };
    Verdict {
        key,
        action,
        flags: if order.by_hand { VERDICT_BY_HAND } else { 0 },
        expires_ns: order.until_ns.unwrap_or(0),
        rate,
        record: 0,
    }
}

/// Changes who may do what, in the kernel and in the reference alike.
fn change(
    numbers: &mut Numbers,
    pinned: &mut Pinned,
    reference: &mut Reference,
    ids: &[u32],
    now_ns: u64,
) -> Result<()> {
    reference.enforces = !numbers.chance(3);
    for ceiling in &mut reference.ceilings {
        if numbers.chance(3) {
            *ceiling = numbers.chance(2).then(|| numbers.pace());
        }
    }
    pinned.configure(|settings| {
        settings.mode = if reference.enforces {
            MODE_ENFORCE
        } else {
            MODE_OBSERVE
        };
        settings.ceilings = reference
            .ceilings
            .map(|ceiling| ceiling.map_or(Rate::UNLIMITED, rate));
    })?;
    for source in ids {
        for class in 0..CLASSES {
            let key = VerdictKey {
                source: *source,
                class,
            };
            let order = match numbers.below(4) {
                0 => Some(numbers.order(now_ns)),
                1 => None,
                _ => continue,
            };
            // Mail to where it may go is never sent elsewhere.
            if class == Class::Relay as u32 && order.map(|o| o.action) == Some(Action::Redirect) {
                continue;
            }
            pinned.judge(key, order.map(|order| verdict(key, &order)))?;
            match order {
                Some(order) => reference.orders.insert((*source, class), order),
                None => reference.orders.remove(&(*source, class)),
            };
        }
    }
    Ok(())
}

/// Makes the connections one after the other; for each a letter that says how it ended.
fn connect(lab: &Lab, users: &[User], plan: &[(u32, SocketAddr)]) -> Result<String> {
    let mut text = String::new();
    for (user, to) in plan {
        writeln!(text, "{} {to}", users[*user as usize].uid)?;
    }
    let path = lab.dir().join("plan");
    fs::write(&path, text)?;
    let program = client::publish(&client::built("fg-crowd")?, lab.dir())?;
    let mut command = lab.place("users")?.command(program)?;
    let job = Job::start(command.arg("plan").arg(path))?;
    let finished = job.finish(PATIENCE)?.expect_code(0)?;
    Ok(finished.stdout.trim_end().to_owned())
}

fn fate(event: &Event) -> Option<Fate> {
    Some(match Decision::from_u8(event.decision)? {
        Decision::Pass => Fate::Passes,
        Decision::Deny => Fate::Refused,
        Decision::WouldDeny => Fate::Noted,
        Decision::Redirect => Fate::Redirected,
    })
}

#[test]
fn twenty_thousand_connections_end_as_the_reference_says() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let smarthosts = format!("smarthosts = [\"{SMARTHOST}\", \"2001:db8:1::7:25\"]");
    let config = Config::observe(&lab).trusted("198.19.0.0/16");
    let mut guard = Guard::start(&lab, &config.guard(&smarthosts))?;
    let users: Vec<_> = (0..USERS).map(User::unnamed).collect::<Result<_>>()?;
    for user in &users {
        guard.ok(&["block", &user.nameless_source()])?;
    }
    guard.ok(&["unblock", "--all"])?;
    let sources = guard.sources()?;
    let id = |user: &User| {
        let found = sources
            .iter()
            .find(|s| s.source == user.nameless_source())?;
        found.id
    };
    let ids: Vec<u32> = users.iter().filter_map(id).collect();
    ensure!(ids.len() == users.len(), "{sources:?}");
    guard.kill()?;

    let seed = Seed::of(&lab)?;
    let mut pinned = Pinned::of(&lab)?;
    pinned.events()?;
    pinned.configure(|settings| {
        settings.epoch_ns = EPOCH_NS;
        settings.event_rate = Rate::UNLIMITED;
    })?;
    let refused = if feature::CHOSEN_ERRNO.is_there()? {
        'r'
    } else {
        'n'
    };
    let mut numbers = Numbers(TestRunner::deterministic());
    let mut reference = Reference::new(false, [None; 3], EPOCH_NS);
    let mut tally: HashMap<(Who, Fate), u64> = HashMap::new();
    let mut now_ns = 0;
    for round in 0..ROUNDS {
        change(&mut numbers, &mut pinned, &mut reference, &ids, now_ns)?;
        let plan: Vec<_> = (0..CONNECTIONS).map(|_| numbers.connection()).collect();
        let ends = connect(&lab, &users, &plan)?;
        let events = pinned.events()?;
        ensure!(
            (ends.len(), events.len()) == (CONNECTIONS, CONNECTIONS),
            "{} ends and {} events",
            ends.len(),
            events.len()
        );
        for (n, (((user, to), end), event)) in
            plan.iter().zip(ends.chars()).zip(&events).enumerate()
        {
            let who = (event.source, u32::from(event.class));
            let dst = Ipv6Addr::from(event.dst).to_canonical();
            let about = || format!("round {round}, connection {n}: {event:?} in {reference:#?}");
            ensure!(
                (event.source, dst, event.dport) == (ids[*user as usize], to.ip(), to.port()),
                "{}",
                about()
            );
            now_ns = event.time_ns;
            let mut next = reference.clone();
            let expected = next.attempt(who, seed.bit(to.ip()), now_ns);
            ensure!(fate(event) == Some(expected), "{expected:?}: {}", about());
            let expected_end = if expected == Fate::Refused {
                refused
            } else {
                'c'
            };
            ensure!(end == expected_end, "`{end}`: {}", about());
            reference = next;
            *tally.entry((who, expected)).or_default() += 1;
        }
    }

    // The counters say the same, and so does who was connected to.
    guard.restart()?;
    let counted = guard.sources()?;
    let sum = |fate: Fate| -> u64 {
        let fates = tally.iter().filter(|((_, of), _)| *of == fate);
        fates.map(|(_, count)| count).sum()
    };
    for (user, source) in users.iter().zip(&ids) {
        let found = counted
            .iter()
            .find(|s| s.source == user.nameless_source())
            .context("a user is gone")?;
        for class in Class::ALL {
            let who = (*source, class as u32);
            let of = |fate| tally.get(&(who, fate)).copied().unwrap_or_default();
            let totals = found.classes[class.name()];
            let (denied, noted, redirected) =
                (of(Fate::Refused), of(Fate::Noted), of(Fate::Redirected));
            assert_eq!(
                (
                    totals.attempts,
                    totals.denied,
                    totals.would_deny,
                    totals.redirected
                ),
                (
                    of(Fate::Passes) + denied + noted + redirected,
                    denied,
                    noted,
                    redirected
                ),
                "{who:?}"
            );
        }
    }
    guard.expect_sum((ROUNDS * CONNECTIONS) as u64)?;
    sink.expect_accepted((ROUNDS * CONNECTIONS) as u64 - sum(Fate::Refused))?;
    let at = |address| sink.accepted_at(address);
    assert_eq!(
        at(SMARTHOST) + at("2001:db8:1::7:25"),
        sum(Fate::Redirected)
    );
    // Each of them happened often enough to mean something.
    for fate in [Fate::Passes, Fate::Refused, Fate::Noted, Fate::Redirected] {
        ensure!(sum(fate) > 200, "{fate:?}: {tally:?}");
    }
    Ok(())
}
