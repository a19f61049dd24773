//! Which file systems are mounted where: pure decoding of `/proc/PID/mountinfo`
//! (proc_pid_mountinfo(5)).

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// A mounted cgroup2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cgroup2Mount {
    /// Which directory of the hierarchy is mounted: `/` unless it is a bind mount of a part.
    pub(super) part: PathBuf,
    /// Where.
    pub(super) at: PathBuf,
}

/// The cgroup2 mounts, those of the whole hierarchy first. Lines that make no sense are skipped.
pub(super) fn cgroup2_mounts(mountinfo: &[u8]) -> Vec<Cgroup2Mount> {
    let mut mounts: Vec<_> = mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(cgroup2_mount)
        .collect();
    mounts.sort_by_key(|mount| mount.part != Path::new("/"));
    mounts
}

/// `41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw`: a variable
/// number of optional fields ends at the lone hyphen.
fn cgroup2_mount(line: &[u8]) -> Option<Cgroup2Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let part = fields.nth(3)?;
    let at = fields.next()?;
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    (kind == b"cgroup2").then(|| Cgroup2Mount {
        part: unescape(part),
        at: unescape(at),
    })
}

/// The kernel writes space, tab, line break and backslash as `\040` and the like.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'\\')
            .then(|| tail.split_at_checked(3))
            .flatten()
            .and_then(|(digits, tail)| Some((octal(digits)?, tail)));
        let (byte, tail) = escaped.unwrap_or((*first, tail));
        bytes.push(byte);
        rest = tail;
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mounted_at(mountinfo: &str) -> Vec<PathBuf> {
        cgroup2_mounts(mountinfo.as_bytes())
            .into_iter()
            .map(|mount| mount.at)
            .collect()
    }

    #[test]
    fn unified() {
        let text = "25 1 0:22 / /sys rw,nosuid shared:2 - sysfs sysfs rw\n\
                    29 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mounted_at(text), [Path::new("/sys/fs/cgroup")]);
    }

    #[test]
    fn hybrid() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                    32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:1 master:2 - cgroup2 cgroup2 rw\n";
        assert_eq!(mounted_at(text), [Path::new("/sys/fs/cgroup/unified")]);
    }

    #[test]
    fn none() {
        let text = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                    33 31 0:30 / /cgroup2 rw - tmpfs cgroup2 rw\n";
        assert_eq!(mounted_at(text), Vec::<PathBuf>::new());
        assert_eq!(mounted_at(""), Vec::<PathBuf>::new());
        assert_eq!(
            mounted_at("41 31 0:38 / - cgroup2\n-"),
            Vec::<PathBuf>::new()
        );
    }

    #[test]
    fn the_whole_hierarchy_comes_before_a_part_of_it() {
        let text = "50 1 0:38 /docker/a /srv/jail/cgroup rw - cgroup2 cgroup2 rw\n\
                    41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            mounted_at(text),
            [Path::new("/sys/fs/cgroup"), Path::new("/srv/jail/cgroup")]
        );
    }

    #[test]
    fn escapes_in_paths() {
        let text = "41 31 0:38 / /my\\040cgroups\\134\\011x\\9 rw - cgroup2 cgroup2 rw";
        assert_eq!(mounted_at(text), [Path::new("/my cgroups\\\tx\\9")]);
    }

    proptest! {
        #[test]
        fn whatever_is_mounted_is_found(path in "/[ -~]{0,40}", noise in "[ -~\n]{0,80}") {
            let escaped = path.replace('\\', "\\134").replace(' ', "\\040");
            let text = format!("{noise}\n41 31 0:38 / {escaped} rw - cgroup2 none rw\n");
            prop_assert!(mounted_at(&text).contains(&PathBuf::from(path)));
        }

        #[test]
        fn no_input_upsets_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for mount in cgroup2_mounts(&bytes) {
                prop_assert!(mount.at.as_os_str().len() <= bytes.len());
            }
        }
    }
}
