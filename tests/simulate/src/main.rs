//! `cargo xtask simulate`: what the shipped policy makes of ten thousand tenants, some of them
//! infected, and what simpler ones do.
//!
//! Everything is drawn from a seed: the same seeds give the same tables. Rules were tuned on seeds
//! below [`FIRST_SEED`]; the tables are of others.

mod fate;
mod flow;
mod kernel;
mod kinds;
mod mail;
mod population;
mod report;
mod run;
mod slab;
mod world;

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use clap::Parser;
use flowguard::{config::Config, policy::Policy};

use report::Report;

/// Seeds below were used to choose the shipped rules.
const FIRST_SEED: u64 = 7_000;

/// Simpler policies, in the engine's own words.
const BASELINES: [(&str, &str); 3] = [
    (
        "100 connections an hour",
        include_str!("../baselines/rate-100.toml"),
    ),
    (
        "500 connections an hour",
        include_str!("../baselines/rate-500.toml"),
    ),
    (
        "the sequential test alone",
        include_str!("../baselines/sprt.toml"),
    ),
];

const BEGIN: &str = "<!-- begin: cargo xtask simulate -->\n";
const END: &str = "<!-- end: cargo xtask simulate -->";

/// Simulates populations and tells what a policy does to whom.
#[derive(Debug, Parser)]
struct Options {
    /// How many populations.
    #[arg(long, default_value_t = 20)]
    seeds: u64,

    /// Number of the first population.
    #[arg(long, default_value_t = FIRST_SEED)]
    first_seed: u64,

    /// A configuration whose rules are tried instead of the shipped ones.
    #[arg(long)]
    policy: Option<PathBuf>,

    /// Leave the simpler policies out.
    #[arg(long)]
    no_baselines: bool,

    /// Fail if the policy does not do what was promised, and tell what.
    #[arg(long)]
    check: bool,

    /// Put the tables into this file, between its marks.
    #[arg(long)]
    write: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    Ok(if simulate(&Options::parse())? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn simulate(options: &Options) -> Result<bool> {
    let config = match &options.policy {
        Some(path) => Config::load(path)?,
        None => Config::embedded()?,
    };
    let name = match &options.policy {
        Some(path) => path.display().to_string(),
        None => "the shipped policy".to_owned(),
    };
    let report = of_policy(&config.judgement, options)?;
    let mut text = section(&name, &report);
    if !options.no_baselines {
        for (name, text_of) in BASELINES {
            let config = Config::parse(text_of, None).with_context(|| name.to_owned())?;
            text.push_str(&section(name, &of_policy(&config.judgement, options)?));
        }
    }
    if let Some(path) = &options.write {
        let page = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        fs::write(path, put(&page, &text)?)?;
    }
    let missed = report.missed();
    for promise in &missed {
        text.push_str(&format!("missed: {promise}\n"));
    }
    io::stdout().write_all(text.as_bytes())?;
    Ok(missed.is_empty() || !options.check)
}

fn section(name: &str, report: &Report) -> String {
    format!("### {name}\n\n{}\n", report.render())
}

/// Puts the tables where the page wants them.
fn put(page: &str, text: &str) -> Result<String> {
    let (before, rest) = page
        .split_once(BEGIN)
        .with_context(|| format!("there is no line {BEGIN:?}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("there is no {END:?}"))?;
    Ok(format!("{before}{BEGIN}\n{text}{END}{after}"))
}

/// Runs all populations, one a processor.
fn of_policy(policy: &Policy, options: &Options) -> Result<Report> {
    let next = AtomicU64::new(options.first_seed);
    let end = options.first_seed + options.seeds;
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return done;
            }
            done.push((seed, run::run(policy.clone(), seed)));
        }
    };
    let processors = thread::available_parallelism()?.get();
    let mut fates = thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| {
            worker
                .join()
                .map_err(|_| anyhow!("a simulation ended early"))
        });
        joined.collect::<Result<Vec<_>>>()
    })?
    .concat();
    fates.sort_by_key(|(seed, _)| *seed);
    let mut report = Report::default();
    for (_, of_seed) in &fates {
        report.take(of_seed);
    }
    Ok(report)
}
