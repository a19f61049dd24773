//! `cgroup/connect4` at the daemon's own cgroup, for a moment: tells the daemon which network
//! namespace it is in, where `SO_NETNS_COOKIE` does not (before Linux 5.14). Minimum kernel: 5.7.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_netns_cookie},
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};

use super::connect::PASS;
use crate::maps::NETNS_PROBE;

/// Entry.
#[cgroup_sock_addr(connect4)]
fn netns_probe(ctx: SockAddrContext) -> i32 {
    if let Some(probe) = NETNS_PROBE.get_ptr_mut(0) {
        let thread = bpf_get_current_pid_tgid() & u64::from(u32::MAX);
        // SAFETY: the element of a live map; only the thread that asks waits for the answer.
        unsafe {
            if (*probe).thread == thread {
                (*probe).cookie = bpf_get_netns_cookie(ctx.sock_addr.cast());
            }
        }
    }
    PASS
}
