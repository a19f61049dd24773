//! The play itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use flowguard_tests::{
    client::Running,
    config::Config,
    expect::totals,
    guard::Guard,
    lab::Lab,
    report::{Source, Verdict},
    sink::Sink,
};

use crate::{
    cast::{CAST, RELAY, Tenant},
    screen::{Row, Screen},
    summary::{Account, summary},
    watch::{Stop, Watch},
};

/// Time between two looks at the counters.
const LOOK: Duration = Duration::from_millis(500);
/// Looks to a table, where tables cannot be drawn over.
const LOOKS_A_SNAPSHOT: u32 = 4;

/// Sets the stage, plays, shows what came of it, and removes everything.
pub(crate) fn play(watch: &Watch, screen: &mut Screen) -> Result<()> {
    screen.say(
        "Three websites on one server, each in a container with a network of its own;\n\
         flowguard in enforce mode, with the rules it is shipped with.\n",
    )?;
    let lab = Lab::new()?;
    watch.over(lab.cgroups().root())?;
    let sink = lab.mail_sink()?;
    let tenants = CAST
        .into_iter()
        .map(|role| Tenant::new(&lab, role))
        .collect::<Result<Vec<_>>>()?;
    let config = Config::enforce(&lab).shipped_policy().trusted(RELAY);
    let mut guard = Guard::start(&lab, &config)?;
    let played = perform(watch, screen, &guard, &sink, &tenants);
    if played.is_err() && matches!(watch.stopped(), Some(Stop::Signal(_))) {
        // Then nobody wants to read its log, which a guard with a daemon prints when it is dropped.
        guard.kill().ok();
    }
    played?;
    guard.terminate()?;
    guard.ok(&["detach"])?;
    Ok(())
}

fn perform(
    watch: &Watch,
    screen: &mut Screen,
    guard: &Guard<'_>,
    sink: &Sink,
    tenants: &[Tenant<'_>],
) -> Result<()> {
    for tenant in tenants {
        tenant.known_to(guard)?;
    }
    let scene = Scene {
        watch,
        screen,
        guard,
        tenants,
        started: Instant::now(),
        rows: Vec::new(),
    };
    let running = scene.run()?;
    let accounts = accounts(guard, tenants, running)?;
    let through = accounts.iter().map(|a| a.outcome.connected).sum();
    sink.expect_accepted(through)?;
    guard.expect_sum(tenants.iter().map(|t| t.role.count).sum())?;
    // Checked before it is explained: what is explained must be true.
    let summary = summary(&accounts, sink.accepted())?;
    for account in accounts.iter().filter(|a| !a.role.innocent) {
        let source = account.role.source();
        screen.say(&format!("# flowguard show {source}"))?;
        screen.say(&guard.ok(&["show", &source])?)?;
    }
    screen.say(&summary)
}

fn accounts(
    guard: &Guard<'_>,
    tenants: &[Tenant<'_>],
    running: Vec<Running>,
) -> Result<Vec<Account>> {
    let outcomes = running.into_iter().map(Running::outcome);
    let outcomes = outcomes.collect::<Result<Vec<_>>>()?;
    let sources = guard.sources()?;
    let account = |(tenant, outcome): (&Tenant<'_>, _)| Account {
        role: tenant.role,
        outcome,
        counted: totals(&sources, &tenant.role.source(), tenant.role.class),
        verdict: verdict(&sources, &tenant.role.source()),
    };
    Ok(tenants.iter().zip(outcomes).map(account).collect())
}

fn verdict(sources: &[Source], source: &str) -> Option<String> {
    let found = sources.iter().find(|s| s.source == source);
    found.and_then(|source| source.verdict.clone())
}

/// The part that is watched live.
struct Scene<'a> {
    watch: &'a Watch,
    screen: &'a mut Screen,
    guard: &'a Guard<'a>,
    tenants: &'a [Tenant<'a>],
    started: Instant,
    rows: Vec<Row>,
}

impl Scene<'_> {
    /// Lets the tenants enter one after the other, and goes on until flowguard has counted all
    /// they were to try.
    fn run(mut self) -> Result<Vec<Running>> {
        let mut running = Vec::new();
        for look in 0_u32.. {
            let due = LOOK * look;
            self.watch
                .wait(due.saturating_sub(self.started.elapsed()))?;
            while let Some(tenant) = self.tenants.get(running.len())
                && tenant.role.enters <= due
            {
                running.push(tenant.enter()?);
                let role = tenant.role;
                self.tell(&format!("{} starts: {}", role.name, role.does))?;
            }
            if self.look()? {
                break;
            }
            if self.screen.is_terminal() || look.is_multiple_of(LOOKS_A_SNAPSHOT) {
                self.screen.draw(&self.rows)?;
            }
        }
        self.tell("all three are done")?;
        self.screen.draw(&self.rows)?;
        self.screen.keep();
        Ok(running)
    }

    /// Reads the counters and tells of a new verdict; whether everything was tried.
    fn look(&mut self) -> Result<bool> {
        let sources = self.guard.sources()?;
        let before = std::mem::take(&mut self.rows);
        for (n, tenant) in self.tenants.iter().enumerate() {
            let source = tenant.role.source();
            let counted = totals(&sources, &source, tenant.role.class);
            let verdict = verdict(&sources, &source);
            if verdict.is_some() && before.get(n).is_some_and(|row| row.verdict.is_none()) {
                let why = self.guard.show(&source)?.verdicts;
                let why = why.first().context("a verdict without a record")?;
                self.tell(&format!("{} is stopped {}", tenant.role.name, reason(why)))?;
            }
            self.rows.push(Row {
                source,
                attempts: counted.attempts,
                destinations: counted.destinations,
                denied: counted.denied,
                verdict,
            });
        }
        let mut counted = self.tenants.iter().zip(&self.rows);
        Ok(counted.all(|(tenant, row)| row.attempts >= tenant.role.count))
    }

    fn tell(&mut self, what: &str) -> Result<()> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.screen.say(&format!("{seconds:>5.1} s  {what}"))
    }
}

/// `by rule NAME:` and on a line of its own what was measured against which limits.
fn reason(verdict: &Verdict) -> String {
    let seen: Vec<_> = verdict
        .observations
        .iter()
        .map(|o| {
            let minutes = o.window_seconds / 60;
            format!(
                "{} {} in {minutes} min (limit {})",
                o.value, o.what, o.limit
            )
        })
        .collect();
    let rule = verdict.rule.as_deref().unwrap_or("of an operator");
    format!("by rule {rule}:\n         {}", seen.join(", "))
}
