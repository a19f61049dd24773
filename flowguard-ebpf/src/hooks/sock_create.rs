//! `cgroup/sock_create`: every socket made below the attached cgroup. Notes on TCP sockets who made
//! them, since who connects one may be another: a passed descriptor, a process that was moved to
//! another cgroup, or that changed its uid.

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    helpers::{bpf_get_netns_cookie, bpf_sk_storage_get},
    macros::cgroup_sock,
    programs::SockContext,
};
use flowguard_common::{
    counters::Stat,
    event::NO_SOURCE,
    stamp::{STAMP_MADE, Stamp},
};

use super::connect;
use crate::{count, identity, maps::STAMPS};

/// The socket is made, whatever we think of it.
const PASS: i32 = 1;

/// Entry.
#[cgroup_sock(sock_create)]
fn sock_create(ctx: SockContext) -> i32 {
    // SAFETY: the kernel's context, 4-byte reads.
    let (kind, protocol) = unsafe { ((*ctx.sock).type_, (*ctx.sock).protocol) };
    if !connect::speaks_tcp(kind, protocol) {
        return PASS;
    }
    let Some((_, settings)) = super::settings() else {
        return PASS;
    };
    let maker_uid = identity::task_uid();
    // SAFETY: the kernel's context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    let maker = identity::source_of_task(settings, netns, maker_uid).unwrap_or(NO_SOURCE);
    let mut stamp = Stamp {
        flags: STAMP_MADE,
        maker,
        maker_uid,
        ..Stamp::EMPTY
    };
    // SAFETY: the context's socket; aya-ebpf offers socket storage to sock_addr programs only.
    let stored = unsafe {
        bpf_sk_storage_get(
            (&raw const STAMPS).cast_mut().cast(),
            ctx.sock.cast(),
            (&raw mut stamp).cast(),
            u64::from(BPF_SK_STORAGE_GET_F_CREATE),
        )
    };
    if stored.is_null() {
        count::stat(Stat::StampFailed);
    }
    PASS
}
