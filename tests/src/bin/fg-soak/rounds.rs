//! The rounds: what happens to the daemon in each of them.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use flowguard_tests::{
    config::Config,
    container::Container,
    guard::{Guard, Layout},
    lab::Lab,
};

use crate::{
    go_on,
    report::{Line, Report, say},
    tenants::{self, BLOCKED, WEB},
};

/// No daemon takes longer to start; a random moment is within it.
const START: Duration = Duration::from_millis(600);
/// Rounds between two lines about how it goes.
const TALK: u32 = 50;

/// The layouts of maps: a build, and room for sources and devices.
const LAYOUTS: [(Layout, u32, u32); 4] = [
    (Layout::Own, 64, 16),
    (Layout::Own, 128, 32),
    (Layout::Grown, 64, 16),
    (Layout::Grown, 96, 16),
];

/// What is done to a daemon.
enum Deed {
    /// Killed so long after its start.
    AtRandom(Duration),
    /// Killed at a step, after so many others like it.
    AtStep(String, u32),
    /// Killed when it serves.
    Ready,
}

/// What happened to daemons, by kind.
#[derive(Default)]
pub(crate) struct Deeds(pub(crate) BTreeMap<String, u32>);

impl Deeds {
    fn add(&mut self, what: &str) {
        *self.0.entry(what.to_owned()).or_default() += 1;
    }
}

/// A soak at work.
pub(crate) struct Soak<'lab> {
    lab: &'lab Lab,
    guard: Guard<'lab>,
    rng: Rng,
    steps: Vec<String>,
    layout: usize,
    deeds: Deeds,
}

impl Soak<'_> {
    /// Runs it.
    pub(crate) fn run(rounds: u32, seed: u64) -> Result<Report> {
        let lab = Lab::new()?;
        let sink = lab.sink()?;
        let web = Container::new(&lab, "web", WEB.1)?;
        tenants::forget_closed(&lab, &web)?;
        let mut soak = Soak::begin(&lab, seed)?;
        let start = Instant::now();
        let tenants = tenants::start(&lab, &web)?;
        for round in 1..=rounds {
            go_on()?;
            soak.round(round)
                .with_context(|| format!("in round {round}"))?;
            if round % TALK == 0 {
                say(&format!(
                    "soak: {round} rounds in {} s",
                    start.elapsed().as_secs()
                ));
            }
        }
        let mut outcomes = Vec::new();
        let mut took = Duration::ZERO;
        for tenant in tenants {
            let (source, part, blocked) = (tenant.source, tenant.part, tenant.blocked);
            outcomes.push((source, part, blocked, tenant.stop()?));
            took = start.elapsed();
        }
        soak.guard.restart().context("after the last round")?;
        let accepted = tenants::settle(&sink, outcomes.iter().map(|o| o.3.connected).sum())?;
        let mut lines = Vec::new();
        for (source, part, blocked, outcome) in outcomes {
            lines.push(Line {
                source,
                part,
                blocked,
                counted: soak.guard.totals(source, "direct")?,
                outcome,
            });
        }
        let all = soak.guard.sources()?;
        let all = all.iter().flat_map(|source| source.classes.values());
        Ok(Report {
            lines,
            sum: all.map(|totals| totals.attempts).sum(),
            accepted,
            deeds: soak.deeds,
            took,
        })
    }

    fn begin(lab: &Lab, seed: u64) -> Result<Soak<'_>> {
        let guard = Guard::start(lab, &config(lab, LAYOUTS[0]))?;
        guard.await_edge(WEB.1)?;
        guard.await_identity(WEB.0, "edge fge0")?;
        guard.ok(&["block", BLOCKED.1])?;
        let list = guard
            .ok(&["failpoints"])
            .context("the program was built without failpoints: run `cargo xtask soak`")?;
        let mut soak = Soak {
            lab,
            guard,
            rng: Rng::with_seed(seed),
            steps: list.lines().map(str::to_owned).collect(),
            layout: 0,
            deeds: Deeds::default(),
        };
        soak.guard.await_identity(BLOCKED.1, "uid")?;
        soak.guard.kill()?;
        Ok(soak)
    }

    fn round(&mut self, round: u32) -> Result<()> {
        // Every other start is to change the layout.
        if self.rng.bool() {
            self.layout = (self.layout + self.rng.usize(1..LAYOUTS.len())) % LAYOUTS.len();
            self.deeds.add("started with another layout");
        } else {
            self.deeds.add("started with the same layout");
        }
        let layout = LAYOUTS[self.layout];
        self.guard.use_layout(layout.0)?;
        self.guard
            .configure(&config(self.lab, layout).to_string())?;
        // Each step comes up in turn.
        let deed = match round % 3 {
            0 => Deed::Ready,
            1 => Deed::AtRandom(START.mul_f64(self.rng.f64())),
            _ => {
                let step = &self.steps[(round / 3) as usize % self.steps.len()];
                Deed::AtStep(step.clone(), self.rng.u32(0..3))
            }
        };
        match deed {
            Deed::Ready => {
                self.guard.restart()?;
                self.guard.kill()?;
                self.deeds.add("killed when ready");
            }
            Deed::AtRandom(moment) => {
                self.guard.begin()?;
                thread::sleep(moment);
                self.guard.kill()?;
                self.deeds.add("killed at a random moment");
            }
            Deed::AtStep(step, before) => {
                let points = format!("{step}={before}*off->return(kill)");
                match self.guard.start_with_failpoints(&points)? {
                    Some(ended) => {
                        ended.expect_code(128 + 9)?;
                        self.deeds.add(&format!("killed after {step}"));
                    }
                    None => {
                        self.guard.kill()?;
                        self.deeds.add("killed when ready");
                    }
                }
            }
        }
        ensure!(self.lab.pins().join("maps").exists(), "the guard is gone");
        Ok(())
    }
}

fn config(lab: &Lab, (_, sources, edges): (Layout, u32, u32)) -> Config {
    Config::observe(lab).sized(sources, edges)
}
