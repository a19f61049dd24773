//! TC ingress on the host's own way to the world: what mail servers answer to host users. The packet
//! has no socket yet; the one it is for is looked up, and its stamp tells what is answered.

use aya_ebpf::{
    bindings::{
        bpf_sock, bpf_sock_tuple, bpf_sock_tuple__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::{bpf_ktime_get_boot_ns, bpf_sk_lookup_tcp, bpf_sk_release},
    macros::classifier,
    programs::TcContext,
};
use flowguard_common::{
    addr,
    event::NO_SOURCE,
    flow::FLOW_SENT,
    packet::{Kind, Segment},
    settings::Settings,
    stamp::Stamp,
};

use super::{
    answers::{self, Answered},
    device::{self, DENY, PASS},
    words,
};
use crate::{flows, judge};

/// `BPF_F_CURRENT_NETNS`: the network namespace of the device (include/uapi/linux/bpf.h).
const THIS_NETNS: u64 = u64::MAX;

/// Entry.
#[classifier]
fn uplink_answers(ctx: TcContext) -> i32 {
    let Some(device) = device::registered(device::ifindex(&ctx)) else {
        return PASS;
    };
    let (kind, segment) = device::parse(&ctx, device);
    if kind != Kind::Tcp {
        return PASS;
    }
    let Some((_, settings)) = super::settings() else {
        return PASS;
    };
    if !settings.is_guarded(segment.sport) {
        return PASS;
    }
    let sk = lookup(&ctx, segment);
    if sk.is_null() {
        return PASS;
    }
    let answer = match device::stamp(sk) {
        // SAFETY: storage of a socket that we hold.
        Some(stamp) => unsafe { on_stamped(&ctx, segment, stamp.as_ptr(), settings) },
        None => PASS,
    };
    // SAFETY: the reference that the look-up gave us.
    unsafe { bpf_sk_release(sk.cast()) };
    answer
}

/// # Safety
///
/// `stamp` is storage of a socket that the caller holds.
#[inline(always)]
unsafe fn on_stamped(
    ctx: &TcContext,
    segment: &Segment,
    stamp: *mut Stamp,
    settings: &Settings,
) -> i32 {
    // SAFETY: the caller's promise; then no arguments.
    unsafe {
        let source = (*stamp).source;
        let flow = &raw mut (*stamp).flow;
        let flags = (*flow).flags;
        if source == NO_SOURCE || flags & FLOW_SENT == 0 {
            return PASS;
        }
        let index = flows::index_of(source, flags);
        let now_ns = bpf_ktime_get_boot_ns();
        if judge::is_severed(settings, index, now_ns) {
            return DENY;
        }
        let answered = Answered {
            flow,
            source,
            index,
            ifindex: device::ifindex(ctx),
            now_ns,
            settings,
        };
        answers::on_segment(ctx, segment, &answered);
    }
    PASS
}

/// The socket of this host that a segment is for; the caller has to release it.
#[inline(always)]
fn lookup(ctx: &TcContext, segment: &Segment) -> *mut bpf_sock {
    let Segment {
        src,
        dst,
        sport,
        dport,
        ..
    } = segment;
    let (sport, dport) = (sport.to_be(), dport.to_be());
    let (tuple, size) = if addr::is_v4(dst) {
        let ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
            saddr: words(src)[3],
            daddr: words(dst)[3],
            sport,
            dport,
        };
        let tuple = bpf_sock_tuple__bindgen_ty_1 { ipv4 };
        (tuple, size_of_val(&ipv4))
    } else {
        let ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
            saddr: words(src),
            daddr: words(dst),
            sport,
            dport,
        };
        let tuple = bpf_sock_tuple__bindgen_ty_1 { ipv6 };
        (tuple, size_of_val(&ipv6))
    };
    let mut tuple = bpf_sock_tuple {
        __bindgen_anon_1: tuple,
    };
    // SAFETY: the kernel's context, and a tuple of the size that tells its family.
    unsafe {
        bpf_sk_lookup_tcp(
            ctx.skb.skb.cast(),
            &raw mut tuple,
            size as u32,
            THIS_NETNS,
            0,
        )
    }
}
