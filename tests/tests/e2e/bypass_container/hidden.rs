//! Packets that hide the TCP header: no honest stack sends them, so enforce mode drops them.

use anyhow::Result;
use flowguard_tests::{config::Config, container::Container, lab::Lab};

use super::{
    Root, SYNS, WEB, guard, kernel_counter,
    witness::{Witness, is_first6, is_tiny4},
};

/// What counts them.
const HIDDEN: &str = "packets_hiding_their_port";
/// As many headers as are followed, and one more.
const TOO_LONG: &str = "--via header --to 2001:db8:1::1 \
                        chain --headers hop,dst,dst,dst,dst,dst,dst,dst,dst";

fn in_ipv4(bytes: u16, part: &str) -> String {
    format!("--via header --to 198.18.0.1 fragments --bytes {bytes} --part {part}")
}

fn in_ipv6(bytes: u16) -> String {
    format!("--via header --to 2001:db8:1::1 fragments --bytes {bytes}")
}

#[test]
fn bypass_25_tiny_ipv4_fragments_are_counted() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let guard = guard(&lab, &Config::observe(&lab), &[WEB])?;
    let root = Root::of(&lab, &web)?;
    // The ports are in the first 8 bytes, the flags in the first 14.
    for (run, bytes) in [(1, 8), (2, 16)] {
        root.forge(&in_ipv4(bytes, "both"))?.expect(SYNS, SYNS)?;
        guard.expect_attempts(WEB.0, "direct", run * 2 * SYNS - SYNS)?;
        let hidden = kernel_counter(&guard, HIDDEN)?;
        root.forge(&in_ipv4(bytes, "first"))?.expect(SYNS, 0)?;
        assert_eq!(kernel_counter(&guard, HIDDEN)?, hidden + SYNS, "{bytes}");
        guard.expect_attempts(WEB.0, "direct", run * 2 * SYNS)?;
    }
    guard.expect_sum(4 * SYNS)
}

#[test]
fn bypass_25_tiny_ipv4_fragments_are_dropped() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let guard = guard(&lab, &Config::enforce(&lab), &[WEB])?;
    let root = Root::of(&lab, &web)?;
    let witness = Witness::of(lab.world())?;
    for bytes in [8, 16] {
        root.forge(&in_ipv4(bytes, "first"))?.expect(SYNS, 0)?;
        assert_eq!(witness.count(is_tiny4)?, 0, "{bytes}");
    }
    assert_eq!(kernel_counter(&guard, HIDDEN)?, 2 * SYNS);
    guard.expect_attempts(WEB.0, "direct", 2 * SYNS)?;
    // Neither part of the pair gets through, nor the second alone.
    for part in ["both", "rest"] {
        root.forge(&in_ipv4(8, part))?.expect(SYNS, 0)?;
        assert_eq!(witness.count(is_tiny4)?, 0, "{part}");
    }
    // A first fragment that shows the header is nobody's trick.
    root.forge(&in_ipv4(24, "both"))?.expect(SYNS, SYNS)?;
    guard.expect_attempts(WEB.0, "direct", 4 * SYNS)?;
    guard.expect_sum(4 * SYNS)
}

#[test]
fn bypass_26_ipv6_first_fragment_without_the_header() -> Result<()> {
    for (config, arriving) in [
        (Config::observe as fn(&Lab) -> Config, SYNS),
        (Config::enforce, 0),
    ] {
        let lab = Lab::new()?;
        let _sink = lab.sink()?;
        let web = Container::new(&lab, "web", WEB.1)?;
        let guard = guard(&lab, &config(&lab), &[WEB])?;
        let root = Root::of(&lab, &web)?;
        let witness = Witness::of(lab.world())?;
        // No port to be seen. Linux does not put such fragments together, others do.
        root.forge(&in_ipv6(0))?.expect(SYNS, 0)?;
        assert_eq!(witness.count(is_first6)?, arriving);
        assert_eq!(kernel_counter(&guard, HIDDEN)?, SYNS);
        guard.expect_sum(0)?;
        // The ports, but not the flags.
        root.forge(&in_ipv6(8))?.expect(SYNS, 0)?;
        assert_eq!(witness.count(is_first6)?, arriving);
        assert_eq!(kernel_counter(&guard, HIDDEN)?, 2 * SYNS);
        // All of the header: nobody's trick.
        let before = guard.totals(WEB.0, "direct")?.attempts;
        root.forge(&in_ipv6(24))?.expect(SYNS, SYNS)?;
        guard.expect_attempts(WEB.0, "direct", before + SYNS)?;
        assert_eq!(kernel_counter(&guard, HIDDEN)?, 2 * SYNS);
    }
    Ok(())
}

#[test]
fn bypass_27_too_long_extension_header_chains() -> Result<()> {
    for (config, passes) in [
        (Config::observe as fn(&Lab) -> Config, 1),
        (Config::enforce, 0),
    ] {
        let lab = Lab::new()?;
        let _sink = lab.sink()?;
        let web = Container::new(&lab, "web", WEB.1)?;
        let root = Root::of(&lab, &web)?;
        // Linux 7.2 lets a chain of 12 through, and drops one of 17 by itself.
        let longest = format!("{TOO_LONG}{}", ",dst".repeat(8));
        let unguarded = root.forge(&longest)?.answered();
        let guard = guard(&lab, &config(&lab), &[WEB])?;
        for (run, chain, answered) in [
            (1, TOO_LONG.to_owned(), SYNS),
            (2, format!("{TOO_LONG},dst,dst,dst"), SYNS),
            (3, longest, unguarded),
        ] {
            root.forge(&chain)?.expect(SYNS, passes * answered)?;
            assert_eq!(kernel_counter(&guard, HIDDEN)?, run * SYNS, "{chain}");
        }
        guard.expect_sum(0)?;
    }
    Ok(())
}
