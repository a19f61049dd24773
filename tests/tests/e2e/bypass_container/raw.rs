//! Packets that the attacker wrote: raw sockets, packet sockets, a userspace stack.

use anyhow::Result;
use flowguard_tests::{config::Config, container::Container, lab::Lab};

use super::{Root, SYNS, WEB, counted_and_dropped, guard};

#[test]
fn bypass_19_raw_ip_hdrincl() -> Result<()> {
    counted_and_dropped(&[
        "--via tcp --to 198.18.0.1 plain",
        "--via tcp --to 2001:db8:1::1 plain",
        "--via header --to 198.18.0.1 plain",
        "--via header --to 2001:db8:1::1 plain",
        // The kernel is told another destination than the packet.
        "--via header --to 198.18.0.1 --aside 203.0.113.9 plain",
        "--via header --to 2001:db8:1::1 --aside 2001:db8:9::9 plain",
        // Sent three times, each SYN is one attempt.
        "--via header --to 198.18.0.1 --copies 3 plain",
    ])
}

#[test]
fn bypass_20_packet_sockets() -> Result<()> {
    counted_and_dropped(&[
        "--via frame --to 198.18.0.1 plain",
        "--via frame --to 2001:db8:1::1 plain",
        "--via datagram --to 198.18.0.1 plain",
        "--via datagram --to 2001:db8:1::1 plain",
        "--via frame --to 198.18.0.1 --copies 3 plain",
    ])
}

#[test]
fn bypass_24_tun_and_a_userspace_stack() -> Result<()> {
    const WAY: &str = "--via tun --device tun0 --from 10.99.0.2 --to 198.18.0.1 plain";
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let guard = guard(&lab, &Config::observe(&lab), &[WEB])?;
    let root = Root::of(&lab, &web)?;
    let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    root.run("sh", &["-c", forward])?.expect_code(0)?;
    root.ip(&[
        "tuntap add dev tun0 mode tun",
        "addr add 10.99.0.1/24 dev tun0",
        "link set tun0 up",
    ])?;
    root.nft(
        "table ip t {
            chain c {
                type nat hook postrouting priority 100;
                oifname eth0 masquerade
            }
        }",
    )?;
    root.forge(WAY)?.expect(SYNS, SYNS)?;
    guard.expect_attempts(WEB.0, "direct", SYNS)?;
    guard.expect_sum(SYNS)?;
    // Whole handshakes: the world's servers have them as connections.
    sink.expect_accepted(SYNS)?;
    guard.ok(&["block", WEB.0])?;
    root.forge(WAY)?.expect(SYNS, 0)?;
    let denied = guard.expect_attempts(WEB.0, "direct", 2 * SYNS)?.denied;
    assert_eq!(denied, SYNS);
    sink.expect_accepted(SYNS)?;
    guard.expect_sum(2 * SYNS)
}
