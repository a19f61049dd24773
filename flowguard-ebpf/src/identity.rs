//! Whose attempt a connect hook sees.

use aya_ebpf::{
    btf_maps::lpm_trie::Key,
    helpers::{bpf_get_current_ancestor_cgroup_id, bpf_get_current_uid_gid},
};
use flowguard_common::{
    settings::Settings,
    source::{KEY_NETNS, KEY_UID},
};

use crate::maps::{CGROUPS, NETNS, UIDS};

/// Deepest level of the cgroup hierarchy that is looked at; what lies deeper belongs to its
/// ancestor at this level or above.
const CGROUP_LEVELS: i32 = 16;

/// Who makes the attempt.
pub(crate) enum Who {
    /// A registered source.
    Source(u32),
    /// Nobody registered: kind and value of the identity that is to be registered.
    Unregistered(u32, u64),
}

/// Resolves the current task: nearest registered ancestor cgroup, network namespace, uid.
///
/// A uid speaks for itself in the host's network namespace. In another one it does so only if it
/// is not 0: a container's root must never pass for the host's.
#[inline(always)]
pub(crate) fn of_task(settings: &Settings, netns: u64, uid: u32) -> Who {
    for depth in 0..CGROUP_LEVELS {
        // SAFETY: no arguments that could be wrong; 0 for a level the task's cgroup has not.
        let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(CGROUP_LEVELS - depth) };
        if cgroup == 0 {
            continue;
        }
        // SAFETY: values are words that the daemon replaces whole.
        if let Some(source) = unsafe { CGROUPS.get(&cgroup) } {
            return Who::Source(*source);
        }
    }
    if !settings.is_host(netns) {
        // SAFETY: as above.
        if let Some(source) = unsafe { NETNS.get(&netns) } {
            return Who::Source(*source);
        }
        if uid == 0 {
            return Who::Unregistered(KEY_NETNS, netns);
        }
    }
    match UIDS.get(&Key::new(32, uid.to_be_bytes())) {
        Some(source) => Who::Source(*source),
        None => Who::Unregistered(KEY_UID, u64::from(uid)),
    }
}

/// Real uid of the current task, in the initial user namespace.
#[inline(always)]
pub(crate) fn task_uid() -> u32 {
    bpf_get_current_uid_gid() as u32
}
