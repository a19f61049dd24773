//! The headlines again, by root of real containers: what an engine makes of namespaces, cgroups,
//! links and rights is not what the tests' own containers are made of.

use std::path::Path;

use anyhow::{Context as _, Result};
use flowguard_tests::{
    client::Outcome,
    config::Config,
    docker::{self, Docker},
    guard::Guard,
    lab::Lab,
    lxc::{self, Lxc},
    sink::Sink,
};

use super::{
    Root, SYNS,
    rewrite::{DNAT, duplicated},
};

/// Packets without a socket.
const RAW: [&str; 4] = [
    "--via tcp --to 198.18.0.1 plain",
    "--via header --to 198.18.0.1 plain",
    "--via frame --to 198.18.0.1 plain",
    "--via datagram --to 198.18.0.1 plain",
];
/// Connections made by each way that makes any.
const EACH: u64 = 10;
/// What fits no engine's address.
const NO_GATEWAY6: &str = "fd00::1";

/// Root of a container, and the ways it tries.
struct Attacker<'lab> {
    root: Root,
    client: &'lab Path,
    gateway: &'static str,
}

impl Attacker<'_> {
    /// Connections by the container's own sockets.
    fn connect(&self, port: u16, count: u64, timeout_ms: u64) -> Result<Outcome> {
        let program = self.client.to_str().context("a plain path")?;
        let finished = self.root.run(
            program,
            &[
                &format!("--port={port}"),
                &format!("--count={count}"),
                "--concurrency=2",
                &format!("--timeout-ms={timeout_ms}"),
                "198.18.0.1",
            ],
        )?;
        serde_json::from_str(&finished.expect_code(0)?.stdout).context("an outcome")
    }

    /// Puts rules in the place of those there are.
    fn rules(&self, rules: &str) -> Result<()> {
        self.root.nft(&format!("flush ruleset\n{rules}"))
    }

    fn duplication(&self) -> String {
        duplicated(2525, self.gateway, NO_GATEWAY6)
    }

    /// Each way is counted once, and none gets through a block.
    fn holds(&self, guard: &Guard<'_>, sink: &Sink, source: &str) -> Result<()> {
        let raw = SYNS * RAW.len() as u64;
        self.connect(25, EACH, 20_000)?.all_connected(EACH)?;
        for way in RAW {
            self.root.forge(way)?.expect(SYNS, SYNS)?;
        }
        for rules in [DNAT, &self.duplication()] {
            self.rules(rules)?;
            self.connect(2525, EACH, 20_000)?.all_connected(EACH)?;
        }
        sink.expect_accepted(3 * EACH)?;
        assert_eq!(sink.accepted_on(25), 3 * EACH, "the rules rewrite the port");
        let free = 3 * EACH + raw;
        let totals = guard.expect_attempts(source, "direct", free)?;
        assert_eq!(totals.denied, 0);
        guard.expect_sum(free)?;

        guard.ok(&["block", source, "--class", "direct"])?;
        for rules in [DNAT, &self.duplication()] {
            self.rules(rules)?;
            // Longer than one retransmission of a SYN, which comes after a second.
            self.connect(2525, 2, 1_500)?.all_timed_out(2)?;
        }
        self.rules("")?;
        self.connect(25, EACH, 20_000)?.all_refused(EACH)?;
        for way in RAW {
            self.root.forge(way)?.expect(SYNS, 0)?;
        }
        let denied = EACH + 4 + raw;
        let totals = guard.expect_attempts(source, "direct", free + denied)?;
        assert_eq!(totals.denied, denied);
        guard.expect_sum(free + denied)?;
        sink.expect_accepted(3 * EACH)?;

        guard.ok(&["unblock", source])?;
        self.connect(25, 1, 20_000)?.all_connected(1)
    }
}

#[test]
fn bypass_19_to_23_in_a_docker_container() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let engine = Docker::start(&lab)?;
    let config = Config::observe(&lab).edges("veth*");
    let config = config.containers(&format!("{}/{{id}}", docker::CGROUP));
    let guard = Guard::start(&lab, &config)?;
    let id = engine.mighty_container("shop")?;
    let source = format!("container:{}", &id[..12]);
    guard.await_identity(&source, "edge veth")?;
    let attacker = Attacker {
        root: Root::through(&lab, lab.place("tools")?, &engine.prefix(&id))?,
        client: lab.client_program(),
        gateway: docker::GATEWAY,
    };
    attacker.holds(&guard, &sink, &source)
}

#[test]
fn bypass_19_to_23_in_an_lxc_container() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let config = Config::observe(&lab).edges("veth*");
    let config = config.containers("lxc.payload.{name}");
    let guard = Guard::start(&lab, &config)?;
    let shop = Lxc::start(&lab, "shop")?;
    let source = "container:shop";
    guard.await_identity(source, "edge veth")?;
    let attacker = Attacker {
        root: Root::through(&lab, lab.place("tools")?, &shop.prefix())?,
        client: lab.client_program(),
        gateway: lxc::GATEWAY,
    };
    attacker.holds(&guard, &sink, source)
}
