//! Whose attempt a hook sees.

use aya_ebpf::{
    bindings::__sk_buff,
    btf_maps::lpm_trie::Key,
    helpers::{
        bpf_get_current_ancestor_cgroup_id, bpf_get_current_uid_gid, bpf_get_socket_uid,
        bpf_skb_ancestor_cgroup_id,
    },
};
use flowguard_common::{
    class::Class,
    event::NO_SOURCE,
    settings::Settings,
    source::{FallbackKey, KEY_NETNS, KEY_UID},
};

use crate::maps::{CGROUPS, NETNS, UIDS};

/// Deepest level of the cgroup hierarchy that is looked at; what lies deeper belongs to its
/// ancestor at this level or above.
const CGROUP_LEVELS: i32 = 16;

/// The identity under which an attempt of the current task is counted while nobody is registered.
///
/// A uid speaks for itself in the host's network namespace. In another one it does so only if it
/// is not 0: a container's root must never pass for the host's.
#[inline(always)]
pub(crate) fn fallback_key(settings: &Settings, netns: u64, uid: u32, class: Class) -> FallbackKey {
    let class = class as u32;
    if uid == 0 && !settings.is_host(netns) {
        FallbackKey {
            id: netns,
            kind: KEY_NETNS,
            class,
        }
    } else {
        FallbackKey {
            id: u64::from(uid),
            kind: KEY_UID,
            class,
        }
    }
}

/// The source of the current task, if it is registered: by its nearest registered ancestor
/// cgroup, by its network namespace, by the uid where that speaks for itself.
#[inline(always)]
pub(crate) fn source_of_task(settings: &Settings, netns: u64, uid: u32) -> Option<u32> {
    // SAFETY: plain numbers.
    let found = unsafe { task_source(uid, netns, u32::from(settings.is_host(netns))) };
    registered(found)
}

#[inline(always)]
fn registered(found: u32) -> Option<u32> {
    (found != NO_SOURCE).then_some(found)
}

/// A function of its own to the verifier, which walks the loop once instead of once for each way
/// out of it and each program path behind that.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn task_source(uid: u32, netns: u64, is_host: u32) -> u32 {
    for depth in 0..CGROUP_LEVELS {
        // SAFETY: no arguments that could be wrong; 0 for a level the task's cgroup has not.
        let cgroup = unsafe { bpf_get_current_ancestor_cgroup_id(CGROUP_LEVELS - depth) };
        if cgroup == 0 {
            continue;
        }
        // SAFETY: values are words that the daemon replaces whole.
        if let Some(source) = unsafe { CGROUPS.get(cgroup) } {
            return *source;
        }
    }
    if is_host == 0 {
        // SAFETY: as above.
        if let Some(source) = unsafe { NETNS.get(netns) } {
            return *source;
        }
        if uid == 0 {
            return NO_SOURCE;
        }
    }
    source_of_uid(uid).unwrap_or(NO_SOURCE)
}

/// The source of the socket that a packet comes from, where no stamp tells: by its cgroup, else by
/// its uid. Only for sockets of the host's network namespace, whose uids are the host's.
#[inline(always)]
pub(crate) fn source_of_socket(skb: *mut __sk_buff) -> Option<u32> {
    // SAFETY: the kernel's context.
    registered(unsafe { socket_source(skb) })
}

/// As `task_source`.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn socket_source(skb: *mut __sk_buff) -> u32 {
    for depth in 0..CGROUP_LEVELS {
        // SAFETY: the kernel's context; 0 for a level the socket's cgroup has not.
        let cgroup = unsafe { bpf_skb_ancestor_cgroup_id(skb, CGROUP_LEVELS - depth) };
        if cgroup == 0 {
            continue;
        }
        // SAFETY: values are words that the daemon replaces whole.
        if let Some(source) = unsafe { CGROUPS.get(cgroup) } {
            return *source;
        }
    }
    // SAFETY: the kernel's context.
    source_of_uid(unsafe { bpf_get_socket_uid(skb) }).unwrap_or(NO_SOURCE)
}

/// The source that a uid of the host is registered for.
#[inline(always)]
pub(crate) fn source_of_uid(uid: u32) -> Option<u32> {
    UIDS.get(&Key::new(32, uid.to_be_bytes())).copied()
}

/// Real uid of the current task, in the initial user namespace.
#[inline(always)]
pub(crate) fn task_uid() -> u32 {
    bpf_get_current_uid_gid() as u32
}
