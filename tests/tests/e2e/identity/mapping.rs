//! Whose a source is, by a table that a hosting panel makes.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    config::Config,
    container::Container,
    guard::Guard,
    lab::Lab,
    report::Tenant,
    users::User,
    wait::{SOON, until},
};

use crate::{GAMES, WWW};

/// Paints the terminal red, ends an SQL string, and more.
const HOSTILE: &str = "\u{1b}[31mAlice'\";-- \u{202e}Ltd";

fn tenant(guard: &Guard<'_>, source: &str) -> Result<Option<Tenant>> {
    let sources = guard.sources()?;
    let found = sources.iter().find(|s| s.source == source);
    Ok(found
        .with_context(|| format!("{sources:?}"))?
        .tenant
        .clone())
}

/// Waits until a source is this customer's.
fn await_customer(
    guard: &Guard<'_>,
    source: &str,
    customer: Option<&str>,
) -> Result<Option<Tenant>> {
    until(&format!("{source} to be {customer:?}'s"), SOON, || {
        let tenant = tenant(guard, source)?;
        let found = tenant.as_ref().map(|tenant| tenant.customer.as_str());
        ensure!(found == customer, "{tenant:?}");
        Ok(tenant)
    })
}

/// Waits until a warning has these words.
fn await_warning(guard: &Guard<'_>, words: &str) -> Result<()> {
    until(&format!("a warning with `{words}`"), SOON, || {
        let warnings = guard.status()?.warnings;
        ensure!(warnings.iter().any(|w| w.contains(words)), "{warnings:?}");
        Ok(())
    })
}

#[test]
fn a_file_tells_whose_sources_are() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let file = lab.dir().join("tenants.csv");
    let www = User::named(WWW.0)?;
    let quoted = HOSTILE.replace('"', "\"\"");
    let table = format!(
        "source,customer,package,contact\n\
         uid:{},\"{quoted}\",gold,alice@example.com\n\
         nonsense,Nobody,,\n\
         cgroup:{}/ct-*,Bob,,\n",
        www.uid,
        lab.cgroups().relative(),
    );
    fs::write(&file, table)?;
    let config = Config::observe(&lab).extra(&format!("\n[mapping]\nfile = {file:?}\n"));
    let guard = Guard::start(&lab, &config)?;
    let shop = Container::new(&lab, "shop", "fge0")?;
    guard.await_identity("container:shop", "edge fge0")?;
    shop.client().run()?.all_connected(1)?;
    lab.client(www)?.run()?.all_connected(1)?;
    lab.client(User::named(GAMES.0)?)?.run()?.all_connected(1)?;
    guard.expect_attempts(WWW.1, "direct", 1)?;
    guard.expect_attempts(GAMES.1, "direct", 1)?;
    let alice = await_customer(&guard, WWW.1, Some(HOSTILE))?.context("a tenant")?;
    assert_eq!(alice.package.as_deref(), Some("gold"));
    assert_eq!(alice.contact.as_deref(), Some("alice@example.com"));
    await_customer(&guard, "container:shop", Some("Bob"))?;
    assert_eq!(tenant(&guard, GAMES.1)?, None);
    await_warning(
        &guard,
        "1 lines of the table of customers are left out: line 3: `nonsense`",
    )?;
    for shown in [guard.ok(&["sources"])?, guard.ok(&["show", WWW.1])?] {
        assert!(
            shown.contains(r#"\u{1b}[31mAlice'";-- \u{202e}Ltd"#),
            "{shown}"
        );
    }

    fs::write(&file, "source,customer\nuser:games,Carol\n")?;
    guard.ok(&["reload"])?;
    await_customer(&guard, GAMES.1, Some("Carol"))?;
    assert_eq!(tenant(&guard, WWW.1)?, None);
    // What can no longer be read changes nothing.
    fs::remove_file(&file)?;
    guard.ok(&["reload"])?;
    await_warning(&guard, "the last table, of 1 lines, holds")?;
    await_customer(&guard, GAMES.1, Some("Carol"))?;
    // Without a table nobody is anybody's.
    guard.configure(&Config::observe(&lab).to_string())?;
    guard.ok(&["reload"])?;
    assert_eq!(tenant(&guard, GAMES.1)?, None);
    assert!(guard.status()?.warnings.is_empty());
    Ok(())
}

#[test]
fn a_command_tells_whose_sources_are_again_and_again() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let (table, script) = (lab.dir().join("tenants.csv"), lab.dir().join("tenants.sh"));
    fs::write(
        &script,
        "set -e\ncustomer=$(cat \"$1\")\necho source,customer,contact\necho \"user:games,$customer,$(id -un)\"\n",
    )?;
    fs::write(&table, "Carol")?;
    let config = Config::observe(&lab).extra(&format!(
        "\n[mapping]\ncommand = [\"/bin/sh\", {script:?}, {table:?}]\nuser = {:?}\nrefresh = \"1s\"\n",
        WWW.0
    ));
    let guard = Guard::start(&lab, &config)?;
    lab.client(User::named(GAMES.0)?)?.run()?.all_connected(1)?;
    guard.expect_attempts(GAMES.1, "direct", 1)?;
    let carol = await_customer(&guard, GAMES.1, Some("Carol"))?.context("a tenant")?;
    assert_eq!(carol.contact.as_deref(), Some(WWW.0), "who it ran as");
    fs::write(&table, "Dave")?;
    await_customer(&guard, GAMES.1, Some("Dave"))?;
    // It fails, and the last table holds.
    fs::remove_file(&table)?;
    await_warning(&guard, "No such file or directory")?;
    await_customer(&guard, GAMES.1, Some("Dave"))?;
    fs::write(&table, "Eve")?;
    await_customer(&guard, GAMES.1, Some("Eve"))?;
    until("no warning any more", SOON, || {
        let warnings = guard.status()?.warnings;
        ensure!(warnings.is_empty(), "{warnings:?}");
        Ok(())
    })
}
