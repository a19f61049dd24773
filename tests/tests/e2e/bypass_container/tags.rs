//! Frames with VLAN tags, through a host that is a switch to its tenants.

use anyhow::Result;
use flowguard_tests::{config::Config, container::Container, lab::Lab};

use super::{Root, SYNS, VM, WEB, guard, witness::Witness};

/// As the world's network card shows them: Linux takes the outer tag out of a frame it receives.
fn is_tagged_ipv4(inner_tags: usize) -> impl Fn(&[u8]) -> bool {
    move |frame| {
        let tags = (0..inner_tags).all(|n| frame.get(12 + 4 * n..14 + 4 * n) == Some(&[0x81, 0]));
        let at = 12 + 4 * inner_tags;
        // TCP over IPv4, to port 25.
        tags && frame.get(at..at + 2) == Some(&[8, 0])
            && frame.get(at + 11) == Some(&6)
            && frame.get(at + 24..at + 26) == Some(&[0, 25])
    }
}

#[test]
fn bypass_28_vlan_and_qinq() -> Result<()> {
    const ONE: &str = "--via frame --to 198.18.0.1 --tags 7 plain";
    const TWO: &str = "--via frame --to 198.18.0.1 --tags 7,8 plain";
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let vm = Container::unmanaged(&lab, VM.1)?;
    let roots = [Root::of(&lab, &web)?, Root::of(&lab, &vm)?];
    switched(&lab, &[&web, &vm])?;
    let guard = guard(&lab, &Config::observe(&lab), &[WEB, VM])?;
    let witness = Witness::of(lab.world())?;
    for (way, inner_tags) in [(ONE, 0), (TWO, 1)] {
        for root in &roots {
            // No server of the world has that VLAN, so nobody answers; but there it is.
            root.forge(way)?.expect(SYNS, 0)?;
            assert_eq!(witness.count(is_tagged_ipv4(inner_tags))?, SYNS, "{way}");
        }
    }
    guard.expect_attempts(WEB.0, "direct", 2 * SYNS)?;
    guard.expect_attempts(VM.0, "direct", 2 * SYNS)?;
    guard.expect_sum(4 * SYNS)?;
    guard.ok(&["block", WEB.0])?;
    for (way, inner_tags) in [(ONE, 0), (TWO, 1)] {
        for (root, arriving) in roots.iter().zip([0, SYNS]) {
            root.forge(way)?.expect(SYNS, 0)?;
            assert_eq!(
                witness.count(is_tagged_ipv4(inner_tags))?,
                arriving,
                "{way}"
            );
        }
    }
    let denied = guard.expect_attempts(WEB.0, "direct", 4 * SYNS)?.denied;
    assert_eq!(denied, 2 * SYNS);
    let denied = guard.expect_attempts(VM.0, "direct", 4 * SYNS)?.denied;
    assert_eq!(denied, 0);
    guard.expect_sum(8 * SYNS)
}

/// Makes the host a switch between these tenants and the world: tags pass through it.
fn switched(lab: &Lab, tenants: &[&Container<'_>]) -> Result<()> {
    let mut commands = vec![
        "link add br0 type bridge".to_owned(),
        "link set br0 address 02:00:00:00:00:01 up".to_owned(),
        format!(
            "link add port0 type veth peer name port0 netns {}",
            lab.world().path()
        ),
        "link set port0 master br0 up".to_owned(),
    ];
    for tenant in tenants {
        let (edge, gateway) = (tenant.interface(), tenant.gateway());
        // A port may not have the switch's own address.
        commands.extend([
            format!("link set {edge} address 02:00:00:00:01:01"),
            format!("link set {edge} master br0"),
            format!("addr del {gateway}/24 dev {edge}"),
            format!("addr add {gateway}/24 dev br0"),
        ]);
    }
    lab.host().ip(&commands)?;
    lab.world().ip(&["link set port0 up".to_owned()])
}
