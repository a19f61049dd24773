//! `cgroup/connect6`: every IPv6 `connect()` below the attached cgroup, IPv4-mapped destinations
//! included, for which `connect4` does not run.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use flowguard_common::event::Hook;

use super::connect::{self, PASS};

/// Entry.
#[cgroup_sock_addr(connect6)]
fn connect6(ctx: SockAddrContext) -> i32 {
    let Some(port) = connect::tcp_port(&ctx) else {
        return PASS;
    };
    // One 4-byte read at a time, which is what the verifier allows on this context.
    // SAFETY: the kernel's context.
    let words = unsafe {
        let words = &raw const (*ctx.sock_addr).user_ip6;
        [
            core::ptr::read_volatile(&raw const (*words)[0]),
            core::ptr::read_volatile(&raw const (*words)[1]),
            core::ptr::read_volatile(&raw const (*words)[2]),
            core::ptr::read_volatile(&raw const (*words)[3]),
        ]
    };
    let [a, b, c, d] = words.map(u32::to_ne_bytes);
    let mut dst = [0; 16];
    dst[..4].copy_from_slice(&a);
    dst[4..8].copy_from_slice(&b);
    dst[8..12].copy_from_slice(&c);
    dst[12..].copy_from_slice(&d);
    connect::decide(&ctx, Hook::Connect6, &dst, port)
}
