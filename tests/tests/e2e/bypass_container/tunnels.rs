//! SMTP inside other packets: not looked into, but never unnoticed.

use anyhow::Result;
use flowguard_tests::{config::Config, container::Container, lab::Lab};

use super::{
    Root, SYNS, WEB, guard, kernel_counter,
    witness::{Witness, is_protocol},
};

/// Tunnels and their protocol numbers.
const TUNNELS: [(&str, u8); 4] = [("gre", 47), ("ipip", 4), ("sixin4", 41), ("vxlan", 17)];

#[test]
fn bypass_29_gre_ipip_and_vxlan() -> Result<()> {
    for config in [Config::observe, Config::enforce] {
        let lab = Lab::new()?;
        let _sink = lab.sink()?;
        let web = Container::new(&lab, "web", WEB.1)?;
        let guard = guard(&lab, &config(&lab), &[WEB])?;
        let root = Root::of(&lab, &web)?;
        let witness = Witness::of(lab.world())?;
        let mut sent = 0;
        for to in ["198.18.0.1", "2001:db8:1::1"] {
            for (tunnel, protocol) in TUNNELS {
                let way = format!("--via header --to {to} inside {tunnel}");
                root.forge(&way)?.expect(SYNS, 0)?;
                assert_eq!(witness.count(is_protocol(protocol))?, SYNS, "{way}");
                sent += SYNS;
                let counted = kernel_counter(&guard, "packets_encapsulated")?;
                assert_eq!(counted, sent, "{way}");
            }
        }
        guard.expect_sum(0)?;
    }
    Ok(())
}
