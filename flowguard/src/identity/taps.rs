//! Whose taps are: a VM's host side is held open by the process that is the VM.
//!
//! The kernel tells which device an open `/dev/net/tun` is for, in `/proc/PID/fdinfo` (`iff:`, since
//! Linux 3.14), but not in which network namespace that device is. So only processes of this one are
//! asked: whoever is root in a container could make a device there that is called like another VM's
//! here.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{
    cgroup::cgroup_of_pid,
    links::Link,
    netns::NetnsError,
    peers::{MAX_CGROUPS, Peer},
};

/// The device that taps are made with.
const TUN: &str = "/dev/net/tun";

/// Finds the processes that hold these interfaces open, by ifindex; blocking. An interface that no
/// process holds is missing from the answer.
///
/// # Errors
/// `/proc` is not readable.
pub fn find_holders(taps: &[Link]) -> Result<HashMap<u32, Peer>, NetnsError> {
    let proc_error = |source| NetnsError::Proc { source };
    let by_name: HashMap<&str, u32> = taps
        .iter()
        .map(|tap| (tap.name.as_str(), tap.ifindex))
        .collect();
    let own = fs::metadata("/proc/thread-self/ns/net").map_err(proc_error)?;
    let mut holders: HashMap<u32, Peer> = HashMap::new();
    for entry in fs::read_dir("/proc").map_err(proc_error)? {
        let path = entry.map_err(proc_error)?.path();
        let pid = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let Some(pid) = pid else {
            continue;
        };
        // It may have ended.
        let is_here = fs::metadata(path.join("ns/net")).is_ok_and(|ns| ns.ino() == own.ino());
        if !is_here {
            continue;
        }
        for name in held(&path).unwrap_or_default() {
            let Some(ifindex) = by_name.get(name.as_str()) else {
                continue;
            };
            let holder = holders.entry(*ifindex).or_insert_with(|| Peer {
                netns_inode: own.ino(),
                cookie: None,
                cgroups: Vec::new(),
                vm: None,
            });
            if holder.cgroups.len() < MAX_CGROUPS {
                holder.cgroups.extend(cgroup_of_pid(pid));
            }
            holder.vm = holder.vm.take().or_else(|| vm_name(&path));
        }
    }
    Ok(holders)
}

/// The interfaces that a process holds open, by their names.
fn held(process: &Path) -> io::Result<Vec<String>> {
    let mut held = Vec::new();
    for entry in fs::read_dir(process.join("fd"))? {
        let entry = entry?;
        if fs::read_link(entry.path()).is_ok_and(|file| file == Path::new(TUN)) {
            let info = process.join("fdinfo").join(entry.file_name());
            let info = fs::read(info).unwrap_or_default();
            held.extend(interface(&String::from_utf8_lossy(&info)));
        }
    }
    Ok(held)
}

/// The interface in the text of a descriptor of `/dev/net/tun`.
fn interface(fdinfo: &str) -> Option<String> {
    let line = fdinfo.lines().find_map(|line| line.strip_prefix("iff:"))?;
    let name = line.trim_start_matches([' ', '\t']);
    (!name.is_empty()).then(|| name.to_owned())
}

/// What QEMU's command line calls the VM, if root runs it. Other users could take any name.
fn vm_name(process: &Path) -> Option<String> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    if !uids.split_ascii_whitespace().all(|uid| uid == "0") {
        return None;
    }
    let command_line = fs::read(PathBuf::from(process).join("cmdline")).ok()?;
    name_option(&String::from_utf8_lossy(&command_line))
}

/// The argument of `-name`: `shop`, or `guest=shop,debug-threads=on`.
fn name_option(command_line: &str) -> Option<String> {
    let mut words = command_line.split('\0');
    words.find(|word| matches!(*word, "-name" | "--name"))?;
    let name = words.next()?.split(',').next()?;
    let name = name.strip_prefix("guest=").unwrap_or(name);
    // A path would be taken for a cgroup's.
    let name = name.trim_start_matches('/');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_of_a_descriptor_is_found() {
        let fdinfo = "pos:\t0\nflags:\t0100002\nmnt_id:\t25\nino:\t4\niff:\tvnet0\n";
        assert_eq!(interface(fdinfo).as_deref(), Some("vnet0"));
        assert_eq!(interface("pos:\t0\niff:\n"), None);
        assert_eq!(interface("iffy:\tvnet0\n"), None);
    }

    #[test]
    fn the_name_of_a_vm_is_found() {
        for (line, expected) in [
            (
                "/usr/bin/qemu-system-x86_64\0-name\0guest=shop,debug-threads=on\0-S\0",
                Some("shop"),
            ),
            ("kvm\0-name\0shop\0", Some("shop")),
            ("kvm\0-name\0/system.slice/x\0", Some("system.slice/x")),
            ("kvm\0-name\0", None),
            ("kvm\0-name", None),
            ("kvm\0-m\0-nameless\0", None),
        ] {
            assert_eq!(name_option(line).as_deref(), expected, "{line:?}");
        }
    }
}
