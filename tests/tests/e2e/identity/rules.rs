//! Rules go by groups of users, and by packages of customers.

use std::fs;

use anyhow::{Context as _, Result};
use flowguard_tests::{config::Config, guard::Guard, lab::Lab, report::Replayed, users::User};
use serde::Deserialize;

use crate::{BACKUP, GAMES, WWW};

/// Each user is in the group of his own name, on every Debian.
const RULES: &str = r#"
[[rule]]
name = "of-a-group"
sources = ["*"]
groups = ["www-data"]
class = "direct"
when = [{ within = "1h", what = "attempts", at_least = 3 }]
action = "block"
for = "1h"

[[rule]]
name = "of-a-package"
sources = ["*"]
packages = ["cheap"]
class = "direct"
when = [{ within = "1h", what = "attempts", at_least = 3 }]
action = "block"
for = "1h"
"#;

/// As many connections as the rules are about: the verdict comes after the last of them.
const CONNECTIONS: u64 = 3;

/// A guard under these rules, after [`CONNECTIONS`] each of www-data, of games with the package
/// "cheap", and of backup with another.
fn guard(lab: &Lab) -> Result<Guard<'_>> {
    let table = lab.dir().join("tenants.csv");
    fs::write(
        &table,
        "source,customer,package\nuser:games,Carol,cheap\nuser:backup,Dave,gold\n",
    )?;
    let config = Config::enforce(lab).rules(RULES);
    let guard = Guard::start(
        lab,
        &config.extra(&format!("\n[mapping]\nfile = {table:?}\n")),
    )?;
    for (user, _) in [WWW, GAMES, BACKUP] {
        lab.client(User::named(user)?)?
            .count(CONNECTIONS)
            .run()?
            .all_connected(CONNECTIONS)?;
    }
    guard.await_verdict(GAMES.1, Some("block"))?;
    Ok(guard)
}

#[test]
fn rules_go_by_groups_and_packages() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let guard = guard(&lab)?;
    for (source, rule) in [(WWW.1, "of-a-group"), (GAMES.1, "of-a-package")] {
        guard.await_verdict(source, Some("block"))?;
        let verdicts = guard.show(source)?.verdicts;
        assert_eq!(verdicts[0].rule.as_deref(), Some(rule));
    }
    // In no such group, and with another package.
    guard.await_verdict(BACKUP.1, None)
}

/// What is read of `policy recommend --json`.
#[derive(Debug, Deserialize)]
struct Recommended {
    measured: Vec<Measured>,
}

#[derive(Debug, Deserialize)]
struct Measured {
    package: Option<String>,
    what: String,
    sources: u64,
    p50: u64,
}

#[test]
fn the_history_knows_packages() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = guard(&lab)?;
    guard.expect_attempts(BACKUP.1, "direct", CONNECTIONS)?;
    guard.terminate()?;
    let config = guard.config().to_str().context("a path")?;
    let replayed: Replayed = guard.json(&["policy", "replay", config, "--json"])?;
    let hits = replayed.candidate.hits;
    let of_package = hits.iter().filter(|hit| hit.rule == "of-a-package");
    let of_package: Vec<_> = of_package.map(|hit| &*hit.source).collect();
    assert_eq!(of_package, [GAMES.1], "{hits:?}");
    let recommended = ["policy", "recommend", "--package", "cheap", "--json"];
    let Recommended { measured } = guard.json(&recommended)?;
    for line in &measured {
        assert_eq!(line.package.as_deref(), Some("cheap"), "{line:?}");
        assert_eq!(line.sources, 1, "{line:?}");
    }
    let mut attempts = measured.iter().filter(|line| line.what == "attempts");
    let one = attempts.next().context("no attempts were measured")?;
    assert_eq!(one.p50, CONNECTIONS, "{one:?}");
    assert!(attempts.all(|line| line.p50 == CONNECTIONS), "{measured:?}");
    Ok(())
}
