//! Who may do what: root everything, the group reads, nobody else anything.

use std::{ffi::CString, io};

use hyper::Method;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id at the time of connecting, as this user namespace sees it.
    pub uid: u32,
    /// Primary and supplementary group ids.
    pub groups: Vec<u32>,
}

/// Who may use the control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    owner: u32,
    readers: Option<u32>,
}

impl Access {
    /// Root and the daemon's own user may do everything; the members of `group` may read. A group
    /// that does not exist has no members.
    ///
    /// # Errors
    ///
    /// The group database cannot be read.
    pub fn for_group(group: Option<&str>) -> io::Result<Self> {
        Ok(Self {
            owner: Uid::effective().as_raw(),
            readers: find_group(group)?.map(Gid::as_raw),
        })
    }

    /// Whether this peer may use this method.
    pub fn may(&self, peer: &Peer, method: &Method) -> bool {
        let reads = *method == Method::GET || *method == Method::HEAD;
        let reader = self
            .readers
            .is_some_and(|readers| peer.groups.contains(&readers));
        peer.uid == 0 || peer.uid == self.owner || (reads && reader)
    }

    /// The peer with all its groups. The group database may be slow (LDAP, say), so it is asked
    /// on a thread of its own, and only where the answer matters.
    pub(super) async fn identify(&self, uid: u32, gid: u32) -> Peer {
        let mut groups = vec![gid];
        if uid != 0 && uid != self.owner && self.readers.is_some_and(|readers| readers != gid) {
            match tokio::task::spawn_blocking(move || supplementary(uid, gid)).await {
                Ok(Ok(more)) => groups.extend(more),
                Ok(Err(error)) => {
                    tracing::warn!(uid, %error, "cannot look up the groups of a control client");
                }
                Err(error) => tracing::error!(uid, %error, "the look-up of groups broke off"),
            }
        }
        Peer { uid, groups }
    }
}

/// The id of a group, if it has one.
pub(super) fn find_group(name: Option<&str>) -> io::Result<Option<Gid>> {
    let Some(name) = name else { return Ok(None) };
    Ok(Group::from_name(name)?.map(|group| group.gid))
}

fn supplementary(uid: u32, gid: u32) -> io::Result<Vec<u32>> {
    let Some(user) = User::from_uid(Uid::from_raw(uid))? else {
        return Ok(Vec::new());
    };
    let name = CString::new(user.name)?;
    let groups = getgrouplist(&name, Gid::from_raw(gid))?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, groups: &[u32]) -> Peer {
        Peer {
            uid,
            groups: groups.to_vec(),
        }
    }

    #[test]
    fn root_does_everything_the_group_reads_nobody_else_anything() {
        let access = Access {
            owner: 0,
            readers: Some(900),
        };
        for method in [Method::GET, Method::HEAD] {
            assert!(access.may(&peer(0, &[0]), &method));
            assert!(access.may(&peer(1001, &[1001, 900]), &method));
            assert!(access.may(&peer(1001, &[900]), &method));
            assert!(!access.may(&peer(1001, &[1001, 901]), &method));
            assert!(!access.may(&peer(1001, &[0]), &method));
        }
        for method in [
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::PATCH,
            Method::OPTIONS,
        ] {
            assert!(access.may(&peer(0, &[0]), &method));
            assert!(!access.may(&peer(1001, &[900]), &method));
        }
    }

    #[test]
    fn without_the_group_there_is_only_root() {
        let access = Access::for_group(Some("no-such-group-at-all")).unwrap();
        assert_eq!(access.readers, None);
        assert!(access.may(&peer(0, &[0]), &Method::POST));
        let stranger = Uid::effective().as_raw() ^ 0x4000_0000;
        assert!(!access.may(&peer(stranger, &[0]), &Method::GET));
    }

    #[tokio::test]
    async fn groups_come_from_the_group_database() {
        let access = Access {
            owner: 0,
            readers: Some(u32::MAX),
        };
        let nobody = access.identify(65_534, 65_534).await;
        assert_eq!(nobody.uid, 65_534);
        assert!(nobody.groups.iter().all(|gid| *gid == 65_534));
        assert!(supplementary(0, 4_711).unwrap().contains(&4_711));
        let without_a_name = Uid::effective().as_raw() ^ 0x4000_0000;
        assert!(supplementary(without_a_name, 0).unwrap().is_empty());
    }
}
