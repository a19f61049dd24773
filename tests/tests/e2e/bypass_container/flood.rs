//! More SYNs without a socket than are remembered: who floods forgets its own only.

use std::time::Duration;

use anyhow::{Result, ensure};
use flowguard_tests::{
    config::Config,
    container::Container,
    lab::Lab,
    wait::{SOON, until},
};

use super::{Root, VM, WEB, guard};

/// Ten times as many as are remembered of one device.
const FLOOD: u64 = 10 * 1_024;
/// Longer than two retransmissions of a SYN, after one second and three.
const TWO_RETRANSMISSIONS: Duration = Duration::from_millis(3_500);

#[test]
fn a_container_that_floods_forgets_its_own_syns_only() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let vm = Container::unmanaged(&lab, VM.1)?;
    let guard = guard(&lab, &Config::observe(&lab), &[WEB, VM])?;
    guard.ok(&["block", VM.0])?;
    let waiting = vm.hidden_client().timeout(TWO_RETRANSMISSIONS).start()?;
    guard.expect_attempts(VM.0, "direct", 1)?;
    let way = format!("--via frame --at-once --to 198.18.0.1 --count {FLOOD} plain");
    Root::of(&lab, &web)?.forge(&way)?.expect(FLOOD, 0)?;
    waiting.outcome()?.all_timed_out(1)?;
    // Each of the flood is one attempt, and the other's SYN is known when it comes again.
    guard.expect_attempts(WEB.0, "direct", FLOOD)?;
    let totals = until("a retransmission", SOON, || {
        let totals = guard.totals(VM.0, "direct")?;
        ensure!(totals.retransmits >= 1, "{totals:?}");
        Ok(totals)
    })?;
    assert_eq!((totals.attempts, totals.denied), (1, 1));
    guard.expect_sum(FLOOD + 1)
}

#[test]
fn outcomes_of_a_flood_are_known_or_said_to_be_lost() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let config = Config::observe(&lab).extra("[kernel]\nunanswered_after = \"1s\"\n");
    let guard = guard(&lab, &config, &[WEB])?;
    // Answers have no way back.
    lab.world()
        .ip(&["route add blackhole 10.77.0.0/16".to_owned()])?;
    let way = format!("--via frame --at-once --to 198.18.0.1 --count {FLOOD} plain");
    Root::of(&lab, &web)?.forge(&way)?.expect(FLOOD, 0)?;
    let lost = until("each outcome", SOON, || {
        let lost = guard.status()?.counted("outcomes_forgotten");
        let totals = guard.totals(WEB.0, "direct")?;
        ensure!(lost + totals.timed_out == FLOOD, "{lost} lost; {totals:?}");
        ensure!(totals.attempts == FLOOD, "{totals:?}");
        Ok(lost)
    })?;
    ensure!(lost > 0 && lost < FLOOD, "{lost}");
    until("a warning", SOON, || {
        let warnings = guard.status()?.warnings;
        let told = warnings.iter().any(|it| it.contains("what came of"));
        ensure!(told, "{warnings:?}");
        Ok(())
    })
}
