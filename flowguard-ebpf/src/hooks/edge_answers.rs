//! TC egress on the host side of a container's veth or a VM's tap: what mail servers answer to the
//! tenant. There is no socket here; the device's table of attempts tells what is answered.

use aya_ebpf::{helpers::bpf_ktime_get_boot_ns, macros::classifier, programs::TcContext};
use flowguard_common::{flow::flow_tag, packet::Kind};

use super::{
    answers::{self, Answered},
    device::{self, DENY, PASS},
};
use crate::{flows, judge};

/// Entry.
#[classifier]
fn edge_answers(ctx: TcContext) -> i32 {
    let ifindex = device::ifindex(&ctx);
    let Some(edge) = device::registered(ifindex) else {
        return PASS;
    };
    let (kind, segment) = device::parse(&ctx, edge);
    if kind != Kind::Tcp {
        return PASS;
    }
    let Some((_, settings)) = super::settings() else {
        return PASS;
    };
    if !settings.is_guarded(segment.sport) {
        return PASS;
    }
    let tag = flow_tag(&segment.dst, segment.dport, &segment.src, segment.sport);
    let Some(flow) = flows::find(edge.slot, tag) else {
        return PASS;
    };
    let flow = flow.as_ptr();
    // SAFETY: an element of a live map; then no arguments.
    let (index, now_ns) = unsafe {
        (
            flows::index_of(edge.source, (*flow).flags),
            bpf_ktime_get_boot_ns(),
        )
    };
    if judge::is_severed(settings, index, now_ns) {
        return DENY;
    }
    let answered = Answered {
        flow,
        source: edge.source,
        index,
        ifindex,
        now_ns,
        settings,
    };
    // SAFETY: the flow is an element of a live map.
    unsafe { answers::on_segment(&ctx, segment, &answered) };
    PASS
}
