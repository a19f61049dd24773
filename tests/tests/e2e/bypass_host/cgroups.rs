//! Tricks with cgroups that were delegated to the one who tries them.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use anyhow::Result;
use flowguard_tests::{
    client::Outcome,
    config::Config,
    guard::Guard,
    lab::Lab,
    place::Place,
    users::User,
    wait::{SOON, until},
};

use super::{V4, V6, attempt, holds, trick};
use crate::WWW;

/// Gives a cgroup to a user, as a service manager does: the directory, and who is in it.
fn delegate(cgroup: &Path, user: User) -> Result<()> {
    for path in [cgroup.to_owned(), cgroup.join("cgroup.procs")] {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    Ok(())
}

/// Cgroups of www-data's that count as containers, and a guard that exempts the one called `mail`.
struct Delegated<'lab> {
    lab: &'lab Lab,
    guard: Guard<'lab>,
    user: User,
}

impl<'lab> Delegated<'lab> {
    fn new(lab: &'lab Lab) -> Result<Self> {
        let user = User::named(WWW.0)?;
        let config = Config::observe(lab)
            .containers("tenant/ct-{name}")
            .exempt("container:mail");
        let guard = Guard::start(lab, &config)?;
        delegate(&lab.cgroups().child("tenant")?, user)?;
        Ok(Self { lab, guard, user })
    }

    /// A container, known to the guard.
    fn container(&self, name: &str) -> Result<PathBuf> {
        let cgroup = self.lab.cgroups().child(&format!("tenant/ct-{name}"))?;
        delegate(&cgroup, self.user)?;
        self.guard.await_registered(&format!("container:{name}"))?;
        Ok(cgroup)
    }

    /// Makes a socket in one cgroup and connects it in another.
    fn try_moved(&self, from: &Path, to: &Path) -> Result<Outcome> {
        let procs = to.join("cgroup.procs").display().to_string();
        attempt(trick(self.lab, &self.place(from), &["moved", &procs, V4])?)
    }

    /// In one of its cgroups.
    fn place(&self, cgroup: &Path) -> Place {
        Place::default()
            .netns(self.lab.host())
            .cgroup(cgroup)
            .user(self.user)
    }
}

#[test]
fn bypass_13_moved_into_an_exempt_cgroup() -> Result<()> {
    let lab = Lab::new()?;
    let delegated = Delegated::new(&lab)?;
    let (web, mail) = (delegated.container("web")?, delegated.container("mail")?);
    let tried = || delegated.try_moved(&web, &mail);
    holds(
        &lab,
        &delegated.guard,
        ("container:web", "direct", 1),
        tried,
    )
}

#[test]
fn bypass_13_moved_out_of_an_exempt_cgroup() -> Result<()> {
    let lab = Lab::new()?;
    let delegated = Delegated::new(&lab)?;
    let (web, mail) = (delegated.container("web")?, delegated.container("mail")?);
    let tried = || delegated.try_moved(&mail, &web);
    holds(
        &lab,
        &delegated.guard,
        ("container:web", "direct", 1),
        tried,
    )
}

#[test]
fn bypass_13_moved_between_cgroups() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let delegated = Delegated::new(&lab)?;
    let (one, other) = (delegated.container("one")?, delegated.container("other")?);
    delegated.try_moved(&one, &other)?.all_connected(1)?;
    until("one attempt", SOON, || delegated.guard.expect_sum(1))
}

#[test]
fn bypass_15_delegated_cgroup() -> Result<()> {
    // Deeper than the guard looks, and by a name that would be a container elsewhere.
    for (depth, inside) in [("1", "ct-mail"), ("30", "deep")] {
        let lab = Lab::new()?;
        let delegated = Delegated::new(&lab)?;
        let web = delegated.container("web")?;
        let below = web.join(inside);
        fs::create_dir(&below)?;
        delegate(&below, delegated.user)?;
        let place = delegated.place(&below);
        let tried = || {
            let mut command = trick(&lab, &place, &["nested", depth])?;
            command.arg(&below).args([V4, V6]);
            attempt(command)
        };
        holds(
            &lab,
            &delegated.guard,
            ("container:web", "direct", 2),
            tried,
        )?;
    }
    Ok(())
}
