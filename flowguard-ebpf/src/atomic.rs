//! Atomic operations on map memory, which other CPUs and userspace share.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xadd};

const RELAXED: AtomicOrdering = AtomicOrdering::Relaxed;

/// `*to += by`, without the old value: an instruction every kernel has.
///
/// # Safety
///
/// `to` points into a live map value.
#[inline(always)]
pub(crate) unsafe fn add(to: *mut u64, by: u64) {
    // SAFETY: the caller's promise.
    unsafe { atomic_xadd::<u64, u64, { RELAXED }>(to, by) };
}

/// `*to |= bits`, returning what was there before. Linux 5.12.
///
/// # Safety
///
/// `to` points into a live map value.
#[inline(always)]
pub(crate) unsafe fn or(to: *mut u64, bits: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { atomic_or::<u64, u64, { RELAXED }>(to, bits) }
}

/// Stores `new` if `*to` is still `old`, and says so. Linux 5.12.
///
/// # Safety
///
/// `to` points into a live map value.
#[inline(always)]
pub(crate) unsafe fn replace(to: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(to, old, new).1
    }
}
