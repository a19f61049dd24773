//! `cgroup/sock_release`: every socket closed that was made below the attached cgroup. An attempt
//! that the uplink saw leave and nobody has answered by now has timed out: no packet will tell.

use aya_ebpf::{helpers::bpf_sk_storage_get, macros::cgroup_sock, programs::SockContext};
use flowguard_common::stamp::Stamp;

use crate::{flows, maps::STAMPS};

/// The socket is closed, whatever we think of it.
const PASS: i32 = 1;

/// Entry.
#[cgroup_sock(sock_release)]
fn sock_release(ctx: SockContext) -> i32 {
    // SAFETY: the context's socket; aya-ebpf offers socket storage to sock_addr programs only.
    let stamp = unsafe {
        let map = (&raw const STAMPS).cast_mut().cast();
        bpf_sk_storage_get(map, ctx.sock.cast(), core::ptr::null_mut(), 0).cast::<Stamp>()
    };
    if !stamp.is_null() {
        // SAFETY: storage of a socket that this hook holds.
        unsafe { flows::settle(stamp) };
    }
    PASS
}
