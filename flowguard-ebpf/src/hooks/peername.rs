//! `cgroup/getpeername4` and `getpeername6`: a program whose connection was redirected is told the
//! destination that it asked for, so that it does not stumble over the smarthost's address.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use flowguard_common::{addr::Addr, stamp::STAMP_REDIRECTED};

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

/// Whether the socket is connected to the smarthost for `dst`. It may have gone elsewhere since, to a
/// port that nobody guards, of which its stamp knows nothing.
#[inline(always)]
fn is_at_smarthost(ctx: &SockAddrContext, dst: &Addr, is_v6: bool) -> bool {
    // One 4-byte read at a time, which is what the verifier allows on this context.
    // SAFETY: the kernel's context.
    let peer = unsafe {
        let from = ctx.sock_addr;
        if is_v6 {
            let words = &raw const (*from).user_ip6;
            [
                core::ptr::read_volatile(&raw const (*words)[0]),
                core::ptr::read_volatile(&raw const (*words)[1]),
                core::ptr::read_volatile(&raw const (*words)[2]),
                core::ptr::read_volatile(&raw const (*words)[3]),
            ]
        } else {
            [0, 0, 0xffff_u32.to_be(), (*from).user_ip4]
        }
    };
    // SAFETY: the kernel's context, a 4-byte read.
    let port = unsafe { u16::from_be((*ctx.sock_addr).user_port as u16) };
    super::settings()
        .and_then(|(_, settings)| settings.smarthost(dst))
        .is_some_and(|smarthost| {
            smarthost.port == u32::from(port) && super::words(&smarthost.addr) == peer
        })
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
        let dst = (*stamp).dst;
        if (*stamp).flags & STAMP_REDIRECTED != 0 && is_at_smarthost(ctx, &dst, is_v6) {
            connect::write_port(ctx.sock_addr, (*stamp).dport);
            connect::write_address(ctx.sock_addr, &dst, is_v6);
        }
    }
    PASS
}
