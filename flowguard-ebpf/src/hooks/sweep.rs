//! Settles the attempts of one device that nobody answered in time. Attached nowhere: the daemon runs
//! it (`BPF_PROG_TEST_RUN`), so that the kernel stays the one who counts, and a device that falls
//! silent does not keep its last outcomes open.
//!
//! Its packet is a [`Sweep`] and says which part of which device.

use aya_ebpf::{helpers::bpf_ktime_get_boot_ns, macros::classifier, programs::TcContext};
use flowguard_common::flow::{FLOW_TIMED_OUT, FLOWS_PER_DEVICE, FLOWS_PER_SWEEP, Sweep};

use crate::{count, flows, maps::FLOWS};

/// What the daemon takes for done.
const DONE: i32 = 0;

/// Entry.
#[classifier]
fn sweep(ctx: TcContext) -> i32 {
    let Ok(Sweep {
        slot, source, part, ..
    }) = ctx.load::<Sweep>(0)
    else {
        return DONE;
    };
    let Some((_, settings)) = super::settings() else {
        return DONE;
    };
    // SAFETY: no arguments.
    let now_ns = unsafe { bpf_ktime_get_boot_ns() };
    let first = slot
        .wrapping_mul(FLOWS_PER_DEVICE)
        .wrapping_add(part.wrapping_mul(FLOWS_PER_SWEEP));
    for place in 0..FLOWS_PER_SWEEP {
        let index = first.wrapping_add(place);
        let Some(flow) = FLOWS.get_ptr_mut(index) else {
            break;
        };
        // SAFETY: an element of a live map.
        unsafe {
            if (*flow).is_overdue(now_ns, settings.answer_ns) {
                time_out(index, source);
            }
        }
    }
    DONE
}

/// A global function (see [`crate::judge`]).
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn time_out(place: u32, source: u32) -> u32 {
    if let Some(flow) = FLOWS.get_ptr_mut(place) {
        // SAFETY: an element of a live map.
        unsafe {
            let index = flows::index_of(source, (*flow).flags);
            count::outcome(&raw mut (*flow).flags, FLOW_TIMED_OUT, index);
        }
    }
    0
}
