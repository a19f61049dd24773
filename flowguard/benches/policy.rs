//! How fast the shipped policy is weighed: `cargo bench -p flowguard --bench policy`.
#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use flowguard::{
    config::Config,
    model::{ClassName, SourceName, Totals},
    policy::{Engine, Fields, Sample},
};

/// Sources of which every one does something in every tick.
const ACTIVE: u32 = 100_000;
/// And as many that do nothing, but once did.
const SILENT: u32 = 100_000;

/// A host under full load.
struct Host {
    engine: Engine,
    names: Vec<SourceName>,
    totals: Vec<Totals>,
    now: Duration,
    silent: u32,
}

impl Host {
    fn new(active: u32, silent: u32) -> Self {
        let mut host = Self {
            engine: Engine::new(Config::embedded().unwrap().judgement),
            names: (0..active + silent)
                .map(|n| SourceName::user(format!("customer{n:06}")))
                .collect(),
            totals: vec![Totals::default(); (active + silent) as usize],
            now: Duration::ZERO,
            silent,
        };
        // Windows begin to move their slots on, and everybody is known.
        host.tick();
        host.silent = 0;
        host.act();
        host.tick();
        host.silent = silent;
        for _ in 0..1_000 {
            host.now += Duration::from_secs(60);
            if active <= 1_000 {
                host.act();
                host.tick();
            }
        }
        for _ in 0..20 {
            host.act();
            host.now += Duration::from_secs(40);
            host.tick();
        }
        host
    }

    /// Everybody but the silent makes a connection, one in eight of them fails.
    fn act(&mut self) {
        self.now += Duration::from_secs(1);
        let active = self.totals.len() - self.silent as usize;
        for (n, totals) in self.totals[..active].iter_mut().enumerate() {
            let turn = n as u64 + self.now.as_secs();
            totals.attempts += 1;
            totals.destinations += u64::from(turn.is_multiple_of(200));
            if turn.is_multiple_of(8) {
                totals.timed_out += 1;
            } else {
                totals.established += 1;
                totals.encrypted += turn % 2;
                totals.plain += 1 - turn % 2;
                totals.messages += 1 - turn % 2;
                totals.replies.ok += 5;
                totals.bytes += 5_000;
                totals.open_ms += 700;
            }
        }
    }

    fn tick(&mut self) -> usize {
        let samples = self.names.iter().zip(&self.totals).zip(0..);
        let samples = samples.map(|((name, totals), source)| Sample {
            source,
            name,
            class: ClassName::Direct,
            totals: *totals,
            known: Fields::ALL,
            exempt: false,
            verdict: None,
            package: None,
            groups: &[],
        });
        self.engine.tick(self.now, samples).len()
    }

    /// The time that so many ticks take.
    fn measure(&mut self, ticks: u64) -> Duration {
        let mut spent = Duration::ZERO;
        for _ in 0..ticks {
            self.act();
            let start = Instant::now();
            self.tick();
            spent += start.elapsed();
        }
        spent
    }
}

fn ticks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tick");
    group
        .sampling_mode(SamplingMode::Flat)
        .sample_size(20)
        .measurement_time(Duration::from_secs(10));
    for (name, active, silent) in [
        ("1000 active sources", 1_000, 0),
        ("100000 active sources", ACTIVE, 0),
        ("100000 active and 100000 silent sources", ACTIVE, SILENT),
    ] {
        let mut host = Host::new(active, silent);
        group.throughput(Throughput::Elements((active + silent).into()));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|ticks| host.measure(ticks));
        });
    }
    group.finish();
}

criterion_group!(benches, ticks);
criterion_main!(benches);
