//! The uids that a user was given for containers without root.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    config::Config,
    guard::{self, Guard},
    lab::Lab,
    process::Job,
    users::User,
    wait::{SOON, until},
};

use super::{V4, holds, home, outcome, trick};
use crate::WWW;

/// First of the uids that www-data was given.
const SUBORDINATE: u32 = 3_200_000_000;
/// How many they are.
const SUBORDINATES: u32 = 65_536;

/// A daemon that reads `/etc/subuid` from a file of the test's.
fn daemon_with_subordinates(lab: &Lab, guard: &Guard<'_>) -> Result<Job> {
    let subuid = lab.dir().join("subuid");
    fs::write(&subuid, format!("{}:{SUBORDINATE}:{SUBORDINATES}\n", WWW.0))?;
    let mut command = lab.place("daemon")?.private_mounts().command("sh")?;
    command
        .args([
            "-c",
            "mount --bind \"$1\" /etc/subuid && exec \"$2\" --config \"$3\" run",
            "sh",
        ])
        .arg(subuid)
        .arg(guard::program()?)
        .arg(guard.config());
    let mut daemon = Job::start(&mut command)?;
    daemon.ready("the daemon to answer", SOON, || guard.status())?;
    Ok(daemon)
}

/// Maps the subordinate uids into a process's user namespace, as `newuidmap` does for their owner.
fn map_subordinates(job: &Job, owner: User) -> Result<()> {
    let own = fs::read_link("/proc/self/ns/user")?;
    let path = format!("/proc/{}", job.pid());
    until("a user namespace", SOON, || {
        let namespace = fs::read_link(format!("{path}/ns/user"))?;
        ensure!(namespace != own, "{}", namespace.display());
        Ok(())
    })?;
    let map = format!("0 {} 1\n1 {SUBORDINATE} {SUBORDINATES}\n", owner.uid);
    fs::write(format!("{path}/uid_map"), map).context("cannot map uids")
}

#[test]
fn bypass_11_subordinate_uids() -> Result<()> {
    const UIDS: u64 = 50;
    let lab = Lab::new()?;
    let guard = Guard::stopped(&lab, &Config::observe(&lab))?;
    let _daemon = daemon_with_subordinates(&lab, &guard)?;
    let owner = User::named(WWW.0)?;
    let place = home(&lab, WWW.0)?;
    let tried = || {
        let args = ["subordinates", &UIDS.to_string(), V4];
        let job = Job::start(&mut trick(&lab, &place, &args)?)?;
        map_subordinates(&job, owner)?;
        outcome(job)
    };
    holds(&lab, &guard, (WWW.1, "direct", UIDS), tried)
}
