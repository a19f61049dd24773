//! Every table of the kernel at its capacity, with ten times as many newcomers: nothing is wrong for
//! who is in it, the newcomers' traffic passes, and both a counter and a warning say so.

mod addresses;
mod crowd;
mod devices;
mod identities;
mod ring;
mod sources;
mod trusted;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{guard::Guard, report::TableUse, wait::until};

use self::crowd::Crowd;

/// What a table holds in these tests.
const ROOM: u64 = 64;
/// As many newcomers as ten tables hold.
const NEWCOMERS: u64 = 10 * ROOM;
/// How soon an operator must be told.
const TOLD: Duration = Duration::from_secs(10);

/// How full a table is.
fn usage_of(guard: &Guard<'_>, table: &str) -> Result<TableUse> {
    let usage = guard.status()?.tables.get(table).copied();
    usage.with_context(|| format!("the status has no table {table}"))
}

/// Checks that nobody took an id of a source who cannot be led to it.
fn no_more_sources_than(guard: &Guard<'_>, most: u64) -> Result<()> {
    let sources = usage_of(guard, "sources")?;
    ensure!(sources.used <= most, "{sources:?}");
    Ok(())
}

/// Waits until the status counts that a table is full and somebody found no room, and a warning
/// names the setting to change.
fn is_announced(guard: &Guard<'_>, table: &str, setting: &str) -> Result<TableUse> {
    until("the full table to be announced", TOLD, || {
        let status = guard.status()?;
        let usage = *status.tables.get(table).context("no such table")?;
        ensure!(
            usage.used == usage.capacity && usage.refused > 0,
            "{usage:?}"
        );
        let told = status.warnings.iter().any(|text| text.contains(setting));
        ensure!(told, "{:?}", status.warnings);
        Ok(usage)
    })
}
