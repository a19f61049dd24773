//! Namespaces of user namespaces, as LXC makes them: their root is root of nothing else.

use std::fs;

use anyhow::{Result, ensure};
use flowguard_tests::{
    client::Outcome, config::Config, container::GATEWAY_MAC, guard::Guard, lab::Lab, place::Place,
    process::Job, users::User, wait::SOON,
};

use super::{Root, SYNS, VM, WEB, guard};

const RAW: [&str; 3] = [
    "--via tcp --to 198.18.0.1 plain",
    "--via header --to 198.18.0.1 plain",
    "--via frame --to 198.18.0.1 plain",
];

/// A network namespace that a user namespace owns, and its root.
#[derive(Debug)]
struct Unprivileged {
    root: Root,
    _holder: Job,
}

impl Unprivileged {
    /// Made by a user, who is uid 0 inside; `number` tells its addresses from others'.
    fn new(lab: &Lab, cgroup: &str, edge: &str, maker: User, number: u32) -> Result<Self> {
        let place = Place::default().cgroup(&lab.cgroups().child(cgroup)?);
        let mut command = place.clone().user(maker).command("unshare")?;
        command.args(["--user", "--map-root-user", "--net", "sleep", "infinity"]);
        let mut holder = Job::start(&mut command)?;
        let pid = holder.pid();
        holder.ready("the namespaces", SOON, || {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"))?;
            ensure!(name == "sleep\n", "{name}");
            Ok(())
        })?;
        lab.host().ip(&[
            format!("link add {edge} address {GATEWAY_MAC} type veth peer name eth0 netns {pid}"),
            format!("addr add 10.78.{number}.1/24 dev {edge}"),
            format!("link set {edge} up"),
        ])?;
        let namespaces = format!("nsenter --user=/proc/{pid}/ns/user --net=/proc/{pid}/ns/net --");
        let prefix: Vec<_> = namespaces.split(' ').map(str::to_owned).collect();
        let root = Root::through(lab, place, &prefix)?;
        root.ip(&[
            "link set lo up",
            &format!("addr add 10.78.{number}.2/24 dev eth0"),
            "link set eth0 up",
            &format!("route add default via 10.78.{number}.1"),
        ])?;
        Ok(Self {
            root,
            _holder: holder,
        })
    }

    /// Everything its root can do about a connection: an honest one, and raw packets.
    fn attempts(&self, lab: &Lab, answered: bool) -> Result<()> {
        let client = lab.client_program().to_str().unwrap_or_default();
        let seconds = [
            "--port=25",
            "--count=10",
            "--concurrency=1",
            "--timeout-ms=5000",
        ];
        let finished = self
            .root
            .run(client, &[&seconds[..], &["198.18.0.1"]].concat())?;
        let outcome: Outcome = serde_json::from_str(&finished.expect_code(0)?.stdout)?;
        if answered {
            outcome.all_connected(10)?;
        } else {
            outcome.all_refused(10)?;
        }
        for way in RAW {
            let through = if answered { SYNS } else { 0 };
            self.root.forge(way)?.expect(SYNS, through)?;
        }
        Ok(())
    }
}

/// Attempts that [`Unprivileged::attempts`] makes.
const ATTEMPTS: u64 = 10 + SYNS * RAW.len() as u64;

#[test]
fn bypass_30_a_user_namespace() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    // Root of the host is exempt here, so that who passes for it cannot be blocked.
    let config = Config::observe(&lab);
    let somebody = User::unnamed(30)?;
    let nobody_but_root = User::named("root")?;
    let web = Unprivileged::new(&lab, "ct-web", WEB.1, somebody, 1)?;
    let vm = Unprivileged::new(&lab, "unmanaged", VM.1, nobody_but_root, 2)?;
    let guard = guard(&lab, &config, &[WEB, VM])?;
    let both = [(WEB.0, &web), (VM.0, &vm)];
    for (source, tenant) in both {
        tenant.attempts(&lab, true)?;
        guard.expect_attempts(source, "direct", ATTEMPTS)?;
    }
    sink.expect_accepted(20)?;
    guard.expect_sum(2 * ATTEMPTS)?;
    for (source, tenant) in both {
        blocked(&lab, &guard, source, tenant)?;
    }
    sink.expect_accepted(20)?;
    guard.expect_sum(4 * ATTEMPTS)
}

fn blocked(lab: &Lab, guard: &Guard<'_>, source: &str, tenant: &Unprivileged) -> Result<()> {
    guard.ok(&["block", source])?;
    tenant.attempts(lab, false)?;
    let denied = guard
        .expect_attempts(source, "direct", 2 * ATTEMPTS)?
        .denied;
    assert_eq!(denied, ATTEMPTS);
    Ok(())
}
