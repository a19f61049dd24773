//! A container's root deletes its link and gets a new one.

use std::cell::Cell;

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    config::Config,
    container::Container,
    lab::Lab,
    wait::{SOON, until},
};

use super::{Root, WEB, guard, witness::Witness};

/// The source that a link is before it is known who is behind it.
const LINK: &str = "iface:fge0";
/// How long a new link may be without a guard, milliseconds.
const UNGUARDED_MS: u64 = 100;
/// New links in a row: some of them may meet a machine that is busy with other tests.
const LINKS: usize = 5;
/// Different SYNs over a new link, a millisecond apart: they go on for longer than it may be
/// without a guard.
const EACH: u64 = 250;

/// SYNs to port 25 in IPv4.
fn is_syn(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 0])
        && frame.get(23) == Some(&6)
        && frame.get(36..38) == Some(&[0, 25])
        && frame.get(47) == Some(&2)
}

#[test]
fn bypass_31_recreated_eth0() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let guard = guard(&lab, &Config::observe(&lab), &[WEB])?;
    guard.ok(&["block", WEB.0])?;
    let root = Root::of(&lab, &web)?;
    let witness = Witness::of(lab.world())?;
    // Sent from the first moment that the link takes a frame.
    let up = "until ip link set eth0 up; do :; done 2>/dev/null";
    let way = format!(
        "--via frame --at-once --from {} --to 198.18.0.1 \
         --count {EACH} --pause-us 1000 plain",
        web.address()
    );
    let (mut seen, mut unguarded) = (0, Vec::new());
    for _ in 0..LINKS {
        root.ip(&["link del eth0"])?;
        let forging = root.start_forging(up, &way)?;
        web.link()?;
        forging.finish()?.expect(EACH, 0)?;
        // Each was either counted or got through.
        let through = Cell::new(0);
        let counted = until("all SYNs to be somewhere", SOON, || {
            through.set(through.get() + witness.count(is_syn)?);
            let attempts = guard.totals(WEB.0, "direct")?.attempts;
            let all = attempts - seen + through.get();
            ensure!(all == EACH, "{all}: {attempts} {through:?}");
            Ok(attempts)
        })?;
        seen = counted;
        unguarded.push(through.get());
    }
    unguarded.sort_unstable();
    let median = unguarded.get(LINKS / 2).context("an odd number")?;
    ensure!(*median < UNGUARDED_MS, "{unguarded:?}");
    let denied = guard.expect_attempts(WEB.0, "direct", seen)?.denied;
    assert_eq!(denied, seen);
    // Until it was known who is behind the new link, it was counted for the link itself.
    let link = guard.totals(LINK, "direct")?;
    let uncounted = unguarded.iter().sum::<u64>() - link.attempts;
    ensure!(uncounted < UNGUARDED_MS, "{unguarded:?}, {link:?}");
    guard.expect_sum(seen + link.attempts)
}
