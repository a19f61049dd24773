//! Host users to be. Connections are made under real uids; tests that need a *name* use users
//! that every Debian has, so that `/etc/passwd` is never touched.

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{Gid, Group, Uid, User as Passwd};

/// Who a process runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: Uid,
    /// Group id; there are no supplementary groups.
    pub gid: Gid,
}

impl User {
    /// A user of the system by name, such as `www-data`, `games`, `backup`, `nobody`.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn named(name: &str) -> Result<Self> {
        let passwd =
            Passwd::from_name(name)?.with_context(|| format!("this system has no user {name}"))?;
        Ok(Self {
            uid: passwd.uid,
            gid: passwd.gid,
        })
    }

    /// The `n`th uid nobody has a name for.
    ///
    /// # Errors
    /// When the system has a user or group of that number after all.
    pub fn unnamed(n: u32) -> Result<Self> {
        let id = 3_100_000_000 + n;
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        ensure!(
            Passwd::from_uid(uid)?.is_none() && Group::from_gid(gid)?.is_none(),
            "this system gave a name to uid or gid {id}, which the tests take for nameless"
        );
        Ok(Self { uid, gid })
    }

    /// How flowguard names a user without a name.
    pub fn nameless_source(self) -> String {
        format!("user:#{}", self.uid)
    }
}
