//! `cgroup/connect4`: every IPv4 `connect()` below the attached cgroup.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use flowguard_common::{addr, event::Hook};

use super::connect::{self, PASS};

/// Entry.
#[cgroup_sock_addr(connect4)]
fn connect4(ctx: SockAddrContext) -> i32 {
    let Some(port) = connect::tcp_port(&ctx) else {
        return PASS;
    };
    // SAFETY: the kernel's context, a 4-byte read the verifier allows.
    let v4 = unsafe { (*ctx.sock_addr).user_ip4 };
    connect::decide(&ctx, Hook::Connect4, &addr::from_v4(v4.to_ne_bytes()), port)
}
