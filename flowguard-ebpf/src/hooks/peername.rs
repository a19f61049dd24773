//! `cgroup/getpeername4` and `getpeername6`: a program whose connection was redirected is told the
//! destination that it asked for, so that it does not stumble over the smarthost's address.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use flowguard_common::stamp::STAMP_REDIRECTED;

use super::connect::{self, PASS};
use crate::maps::STAMPS;

/// Entry.
#[cgroup_sock_addr(getpeername4)]
fn peername4(ctx: SockAddrContext) -> i32 {
    tell(&ctx, false)
}

/// Entry.
#[cgroup_sock_addr(getpeername6)]
fn peername6(ctx: SockAddrContext) -> i32 {
    tell(&ctx, true)
}

#[inline(always)]
fn tell(ctx: &SockAddrContext, is_v6: bool) -> i32 {
    // SAFETY: the context's socket.
    let stamp = unsafe { STAMPS.get_ptr_mut(ctx) };
    if stamp.is_null() {
        return PASS;
    }
    // SAFETY: storage of a socket that this hook holds; then the kernel's context, writes of the
    // widths the verifier allows.
    unsafe {
        if (*stamp).flags & STAMP_REDIRECTED != 0 {
            let dst = (*stamp).dst;
            connect::write_port(ctx.sock_addr, (*stamp).dport);
            connect::write_address(ctx.sock_addr, &dst, is_v6);
        }
    }
    PASS
}
