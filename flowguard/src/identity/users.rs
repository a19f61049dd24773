//! Users and groups, as the Name Service Switch knows them: files, LDAP, SSSD, systemd's dynamic
//! users, whatever `/etc/nsswitch.conf` lists.
//!
//! A lookup may ask a directory server and take seconds: call these functions from
//! `tokio::task::spawn_blocking`, never from an async task.

use std::ffi::CString;

use nix::{
    errno::Errno,
    unistd::{Gid, Group, Uid, User, getgrouplist},
};

use crate::model::escape;

/// A lookup failed, which says nothing about whether the user or group exists.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot look up {what} `{key}`: {source}; check the sources named in /etc/nsswitch.conf (`getent {database} '{key}'` asks the same question)",
    key = escape(key)
)]
pub struct LookupError {
    what: &'static str,
    database: &'static str,
    key: String,
    source: Errno,
}

/// The name of a uid; none if it has none.
///
/// # Errors
/// The name service failed.
pub fn user_name(uid: u32) -> Result<Option<String>, LookupError> {
    absent(User::from_uid(Uid::from_raw(uid)))
        .map(|user| user.map(|user| user.name))
        .map_err(|source| LookupError {
            what: "user",
            database: "passwd",
            key: uid.to_string(),
            source,
        })
}

/// The uid that a name or a number stands for; none if nobody has that name.
///
/// As in chown(1), a name wins over a number, so an account called `1001` is found as itself.
/// `#1001`, as users without a name are shown, is always a number. A number needs no account.
///
/// # Errors
/// The name service failed.
pub fn uid_of(text: &str) -> Result<Option<u32>, LookupError> {
    if let Some(number) = text.strip_prefix('#') {
        return Ok(number_of(number));
    }
    let user = absent(User::from_name(text)).map_err(|source| LookupError {
        what: "user",
        database: "passwd",
        key: text.to_owned(),
        source,
    })?;
    Ok(user
        .map(|user| user.uid.as_raw())
        .or_else(|| number_of(text)))
}

/// The gid that a name or a number stands for, by the rules of [`uid_of`].
///
/// # Errors
/// The name service failed.
pub fn gid_of(text: &str) -> Result<Option<u32>, LookupError> {
    let group = absent(Group::from_name(text)).map_err(|source| LookupError {
        what: "group",
        database: "group",
        key: text.to_owned(),
        source,
    })?;
    Ok(group
        .map(|group| Gid::as_raw(group.gid))
        .or_else(|| number_of(text)))
}

/// The names of a user's groups, the primary one first; those without a name as `#GID`, and none if
/// there is no such user.
///
/// # Errors
/// The name service failed.
pub fn groups_of(user: &str) -> Result<Vec<String>, LookupError> {
    let failed = |what, database, key: String| {
        move |source| LookupError {
            what,
            database,
            key,
            source,
        }
    };
    let account = absent(User::from_name(user));
    let account = account.map_err(failed("user", "passwd", user.to_owned()))?;
    let (Some(account), Ok(name)) = (account, CString::new(user)) else {
        return Ok(Vec::new());
    };
    let gids = getgrouplist(&name, account.gid);
    let gids = gids.map_err(failed("groups of user", "initgroups", user.to_owned()))?;
    let names = gids.into_iter().map(|gid| {
        let group = absent(Group::from_gid(gid));
        let group = group.map_err(failed("group", "group", gid.to_string()))?;
        Ok(group.map_or_else(|| format!("#{gid}"), |group| group.name))
    });
    names.collect()
}

/// Some name service modules report an unknown name as an error: see getpwnam(3), RETURN VALUE.
fn absent<T>(found: nix::Result<Option<T>>) -> nix::Result<Option<T>> {
    match found {
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        other => other,
    }
}

/// `(uid_t) -1` means "nobody in particular" to the kernel, and is no id.
fn number_of(text: &str) -> Option<u32> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
        .filter(|id| *id != u32::MAX)
}

/// Uids that a user may give away in user namespaces of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubordinateRange {
    /// Name of the user they belong to.
    pub owner: String,
    /// The first of them.
    pub first: u32,
    /// The last of them.
    pub last: u32,
}

/// Where subordinate uids are listed (subuid(5)).
const SUBUID: &str = "/etc/subuid";

/// The range of subordinate uids that `uid` is in; none if it is in no range, or there is no list.
pub fn subordinate_range(uid: u32) -> Option<SubordinateRange> {
    let list = std::fs::read_to_string(SUBUID).ok()?;
    let mut ranges = list.lines().filter_map(subordinate_line);
    let mut range = ranges.find(|range| (range.first..=range.last).contains(&uid))?;
    if let Ok(owner) = range.owner.parse() {
        let name = user_name(owner).ok().flatten();
        range.owner = name.unwrap_or_else(|| format!("#{owner}"));
    }
    Some(range)
}

/// A line `owner:first:count`.
fn subordinate_line(line: &str) -> Option<SubordinateRange> {
    let mut fields = line.trim().split(':');
    let owner = fields.next().filter(|owner| !owner.is_empty())?;
    let first: u32 = fields.next()?.parse().ok()?;
    let count: u32 = fields.next()?.parse().ok()?;
    let last = first.checked_add(count.checked_sub(1)?)?;
    fields.next().is_none().then(|| SubordinateRange {
        owner: owner.to_owned(),
        first,
        last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_name_and_by_number() {
        assert_eq!(user_name(0), Ok(Some("root".to_owned())));
        assert_eq!(uid_of("root"), Ok(Some(0)));
        assert_eq!(uid_of("0"), Ok(Some(0)));
        assert_eq!(uid_of("#0"), Ok(Some(0)));
        assert_eq!(gid_of("root"), Ok(Some(0)));
    }

    #[test]
    fn a_number_needs_no_account_but_a_name_does() {
        let uid = 4_294_901_000;
        assert_eq!(user_name(uid), Ok(None));
        assert_eq!(uid_of("4294901000"), Ok(Some(uid)));
        assert_eq!(gid_of("4294901000"), Ok(Some(uid)));
        assert_eq!(uid_of("no-such-user-here"), Ok(None));
        assert_eq!(gid_of("no-such-group-here"), Ok(None));
    }

    #[test]
    fn odd_texts_are_nobody() {
        for text in [
            "",
            "#",
            "#root",
            "+5",
            "-1",
            "4294967295",
            "4294967296",
            "ro\0ot",
        ] {
            assert_eq!(uid_of(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn groups_have_names_and_begin_with_the_primary_one() {
        let groups = groups_of("root").unwrap();
        assert_eq!(groups.first().map(String::as_str), Some("root"));
        assert_eq!(groups_of("no-such-user-here"), Ok(Vec::new()));
        assert_eq!(groups_of("ro\0ot"), Ok(Vec::new()));
    }

    #[test]
    fn an_error_says_how_to_ask_again() {
        let error = LookupError {
            what: "user",
            database: "passwd",
            key: "al\nice".to_owned(),
            source: Errno::EIO,
        };
        assert_eq!(
            error.to_string(),
            "cannot look up user `al\\u{a}ice`: EIO: I/O error; check the sources named in \
             /etc/nsswitch.conf (`getent passwd 'al\\u{a}ice'` asks the same question)"
        );
    }

    #[test]
    fn subordinate_lines_are_read() {
        let range = subordinate_line("alice:100000:65536\n").unwrap();
        assert_eq!(
            (range.owner.as_str(), range.first, range.last),
            ("alice", 100_000, 165_535)
        );
        for bad in [
            "",
            "alice",
            "alice:1",
            "alice:x:1",
            "alice:1:0",
            "alice:4294967295:2",
            ":1:1",
            "a:1:1:1",
        ] {
            assert_eq!(subordinate_line(bad), None, "{bad}");
        }
    }
}
