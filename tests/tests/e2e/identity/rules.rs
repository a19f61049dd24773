//! Rules go by groups of users, and by packages of customers.

use std::fs;

use anyhow::Result;
use flowguard_tests::{config::Config, guard::Guard, lab::Lab, users::User};

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

#[test]
fn rules_go_by_groups_and_packages() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let table = lab.dir().join("tenants.csv");
    fs::write(
        &table,
        "source,customer,package\nuser:games,Carol,cheap\nuser:backup,Dave,gold\n",
    )?;
    let config = Config::enforce(&lab).rules(RULES);
    let guard = Guard::start(
        &lab,
        &config.extra(&format!("\n[mapping]\nfile = {table:?}\n")),
    )?;
    for (user, _) in [WWW, GAMES, BACKUP] {
        lab.client(User::named(user)?)?
            .count(5)
            .run()?
            .all_connected(5)?;
    }
    for (source, rule) in [(WWW.1, "of-a-group"), (GAMES.1, "of-a-package")] {
        guard.await_verdict(source, Some("block"))?;
        let verdicts = guard.show(source)?.verdicts;
        assert_eq!(verdicts[0].rule.as_deref(), Some(rule));
    }
    // In no such group, and with another package.
    guard.await_verdict(BACKUP.1, None)
}
