//! Days of a population's mail, second by second, through the engine that the daemon runs.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use fastrand::Rng;
use flowguard::{
    kernel::offline,
    model::{ClassName, SourceName},
    policy::{Engine, Fields, Finding, Heard, Origin, Policy, RuleAction, Sample, Standing},
};
use flowguard_common::{
    class::CLASSES,
    verdict::{ACTION_BLOCK, ACTION_SEVER, Rate, Verdict, VerdictKey},
};

use crate::{
    fate::{Fate, Rung},
    flow::Flow,
    kernel::{Accounts, index, nanoseconds},
    mail::{self, End, Millis},
    population::{END, Tenant, population},
    slab::Slab,
    world::Server,
};

/// Between two looks of the daemon: `policy.tick` of the shipped configuration.
const TICK: Millis = 1_000;
/// The address that all of them send from.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// How often an honest sender comes again before it gives up.
const RETRIES: u8 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A flow makes its next connection.
    Next { tenant: u32, flow: u8, n: u32 },
    /// A sender that was put off comes again.
    Again {
        tenant: u32,
        flow: u8,
        server: Server,
        left: u8,
    },
    /// Something comes of a connection; where it stands in the list of such.
    Step { tenant: u32, class: u8, slot: u32 },
}

struct Simulation {
    rng: Rng,
    tenants: Vec<Tenant>,
    names: Vec<SourceName>,
    accounts: Vec<Accounts>,
    fates: Vec<Fate>,
    /// What is to come, the next first; the number keeps what falls on one moment in its order.
    queue: BinaryHeap<Reverse<(Millis, u64, What)>>,
    number: u64,
    steps: Slab,
    /// Whose counters changed since the last tick.
    changed: BTreeSet<(u32, ClassName)>,
    engine: Engine,
}

/// What a policy makes of the population of a seed.
pub(crate) fn run(policy: Policy, seed: u64) -> Vec<Fate> {
    let mut simulation = Simulation::new(policy, seed);
    simulation.run();
    simulation.fates
}

impl Simulation {
    fn new(policy: Policy, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let tenants = population(&mut rng);
        let name = |n: usize| SourceName::user(format!("c{n:05}"));
        let fate = |tenant: &Tenant| Fate::of(tenant.kind);
        Self {
            names: (0..tenants.len()).map(name).collect(),
            accounts: tenants.iter().map(|_| Accounts::default()).collect(),
            fates: tenants.iter().map(fate).collect(),
            rng,
            tenants,
            queue: BinaryHeap::new(),
            number: 0,
            steps: Slab::default(),
            changed: BTreeSet::new(),
            engine: Engine::new(policy),
        }
    }

    fn run(&mut self) {
        // What is there when the daemon starts is nobody's doing.
        self.engine.tick(Duration::ZERO, []);
        for tenant in 0..self.tenants.len() {
            for flow in 0..self.tenants[tenant].flows.len() {
                let from = self.tenants[tenant].flows[flow].from;
                self.plan_next(tenant as u32, flow as u8, 0, from);
            }
        }
        let mut tick = TICK;
        while let Some(Reverse((at, ..))) = self.queue.peek() {
            let at = *at;
            if at >= END {
                break;
            }
            if at >= tick {
                self.tick(tick);
                // Nothing changes before it.
                tick = at / TICK * TICK + TICK;
                continue;
            }
            if let Some(Reverse((at, _, what))) = self.queue.pop() {
                self.happens(at, what);
            }
        }
        self.tick(tick);
    }

    fn plan(&mut self, at: Millis, what: What) {
        self.number += 1;
        self.queue.push(Reverse((at, self.number, what)));
    }

    fn plan_next(&mut self, tenant: u32, flow: u8, n: u32, now: Millis) {
        let of = &self.tenants[tenant as usize].flows[usize::from(flow)];
        if let Some(at) = of.next(now, &mut self.rng) {
            self.plan(at, What::Next { tenant, flow, n });
        }
    }

    fn happens(&mut self, now: Millis, what: What) {
        match what {
            What::Next { tenant, flow, n } => {
                let of = &self.tenants[tenant as usize].flows[usize::from(flow)];
                let server = of.server(u64::from(n), &mut self.rng);
                self.connect(now, (tenant, flow), server, RETRIES);
                self.plan_next(tenant, flow, n + 1, now);
            }
            What::Again {
                tenant,
                flow,
                server,
                left,
            } => self.connect(now, (tenant, flow), server, left),
            What::Step {
                tenant,
                class,
                slot,
            } => self.step(tenant, class, slot),
        }
    }

    fn connect(&mut self, now: Millis, (tenant, flow): (u32, u8), server: Server, left: u8) {
        let of = &self.tenants[tenant as usize].flows[usize::from(flow)];
        let class = of.class(&mut self.rng);
        self.changed.insert((tenant, class));
        let account = &mut self.accounts[tenant as usize][index(class)];
        let passed = account.attempt(server, now);
        let (quality, retries) = (of.quality, of.retries && left > 0);
        let mut end = End::PutOff;
        if passed {
            self.note_passed(tenant, flow, class);
            let (steps, ended) = mail::connection(&quality, &mut self.rng);
            end = ended;
            for step in steps {
                let slot = self.steps.keep((step, server));
                let class = index(class) as u8;
                let what = What::Step {
                    tenant,
                    class,
                    slot,
                };
                self.plan(now + step.after, what);
            }
        }
        if end == End::PutOff && retries {
            let what = What::Again {
                tenant,
                flow,
                server,
                left: left - 1,
            };
            let pause = Flow::pause(&mut self.rng);
            self.plan(now + pause, what);
        }
    }

    fn note_passed(&mut self, tenant: u32, flow: u8, class: ClassName) {
        let fate = &mut self.fates[tenant as usize];
        // An infection is the second thing that runs there.
        if flow > 0 && fate.stopped_after.is_none() {
            fate.passed += 1;
            fate.passed_direct += u64::from(class == ClassName::Direct);
        }
    }

    fn step(&mut self, tenant: u32, class: u8, slot: u32) {
        let (step, server) = self.steps.take(slot);
        self.accounts[tenant as usize][usize::from(class)].grow(&step.growth);
        let class = CLASS_NAMES[usize::from(class)];
        self.changed.insert((tenant, class));
        if let Some(text) = step.reply {
            self.engine.hear(Heard {
                source: tenant,
                class,
                server: server.ip(),
                text,
                sent_from: Some(Origin::from(ADDRESS)),
            });
        }
    }

    fn tick(&mut self, now: Millis) {
        let changed = std::mem::take(&mut self.changed);
        let (accounts, names) = (&self.accounts, &self.names);
        let samples = changed.iter().map(|(tenant, class)| {
            let account = &accounts[*tenant as usize][index(*class)];
            Sample {
                source: *tenant,
                name: &names[*tenant as usize],
                class: *class,
                totals: *account.totals(),
                known: Fields::ALL,
                exempt: false,
                verdict: account.verdict(now).and_then(standing),
                package: None,
                groups: &[],
            }
        });
        for finding in self.engine.tick(Duration::from_millis(now), samples) {
            self.carry_out(now, &finding);
        }
    }

    fn carry_out(&mut self, now: Millis, finding: &Finding) {
        let tenant = finding.source as usize;
        let rung = rung(finding.action);
        if let Some(action) = finding.action {
            let key = VerdictKey {
                source: finding.source,
                class: finding.class as u32,
            };
            let verdict = Verdict {
                key,
                action: offline::kernel_action(action.name()),
                flags: 0,
                expires_ns: nanoseconds(now) + finding.duration.as_nanos() as u64,
                rate: action.rate().unwrap_or(Rate::UNLIMITED),
                record: 0,
            };
            self.accounts[tenant][index(finding.class)].judge(Some(verdict));
        }
        let infected = self.tenants[tenant].infected;
        if infected.is_some_and(|since| now < since) {
            // It was honest still; those of its kind tell what is done to such.
            return;
        }
        let stopped_after = infected
            .filter(|_| self.is_stopped(tenant, now))
            .map(|since| now - since);
        self.fates[tenant].note(rung, &finding.rule, stopped_after);
    }

    /// Whether nothing passes of what an infected tenant sends, in none of its classes.
    fn is_stopped(&self, tenant: usize, now: Millis) -> bool {
        let classes = self.tenants[tenant].flows.last().map(|flow| flow.classes);
        classes.into_iter().flatten().all(|class| {
            let verdict = self.accounts[tenant][index(*class)].verdict(now);
            verdict.is_some_and(|verdict| matches!(verdict.action, ACTION_BLOCK | ACTION_SEVER))
        })
    }
}

/// In the order of their accounts.
const CLASS_NAMES: [ClassName; CLASSES as usize] =
    [ClassName::Direct, ClassName::Submission, ClassName::Relay];

fn rung(action: Option<RuleAction>) -> Rung {
    match action {
        None => Rung::Noticed,
        Some(RuleAction::Limit(_) | RuleAction::NewDestinations(_)) => Rung::Slowed,
        Some(RuleAction::Redirect | RuleAction::Block) => Rung::Blocked,
        Some(RuleAction::Sever) => Rung::Severed,
    }
}

fn standing(verdict: &Verdict) -> Option<Standing> {
    Some(Standing {
        action: offline::action_of(verdict.action)?,
        by_hand: false,
    })
}
