//! Atomic operations on map memory, which other CPUs and userspace share.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

/// `*to += by`, without the old value: an instruction every kernel has.
///
/// # Safety
///
/// `to` points into a live map value.
#[inline(always)]
pub(crate) unsafe fn add(to: *mut u64, by: u64) {
    // SAFETY: the caller's promise.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(to, by) };
}

#[cfg(not(feature = "legacy"))]
mod fetching {
    use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xchg};

    const RELAXED: AtomicOrdering = AtomicOrdering::Relaxed;

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

    /// The same for half a word. With relaxed order LLVM 22 drops the fetch of a 32-bit operation whose
    /// result is only masked (`lock *(u32 *)(r0 + 20) |= w2; w2 &= 0x70`).
    ///
    /// # Safety
    ///
    /// `to` points into a live map value.
    #[inline(always)]
    pub(crate) unsafe fn or32(to: *mut u32, bits: u32) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { atomic_or::<u32, u32, { AtomicOrdering::SeqCst }>(to, bits) }
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
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                to, old, new,
            )
            .1
        }
    }

    /// Stores `new` after everything that was written before. Linux 5.12.
    ///
    /// # Safety
    ///
    /// `to` points into a live map value.
    #[inline(always)]
    pub(crate) unsafe fn publish(to: *mut u64, new: u64) {
        // SAFETY: the caller's promise.
        unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(to, new) };
    }
}

#[cfg(not(feature = "legacy"))]
pub(crate) use fetching::{or, or32, publish, replace};

/// The same names for kernels that cannot fetch (before Linux 5.12): a plain read and write. Two CPUs
/// that hit the same word at once may both find a bit unset, and count a first contact or an outcome
/// twice; or both take a place for an attempt, whose outcome one of them loses. Limits do not rest on
/// this: they take a spin lock.
#[cfg(feature = "legacy")]
mod plain {
    /// `*to |= bits`, returning what was there before.
    ///
    /// # Safety
    ///
    /// `to` points into a live map value.
    #[inline(always)]
    pub(crate) unsafe fn or(to: *mut u64, bits: u64) -> u64 {
        // SAFETY: the caller's promise.
        unsafe {
            let before = core::ptr::read_volatile(to);
            core::ptr::write_volatile(to, before | bits);
            before
        }
    }

    /// The same for half a word.
    ///
    /// # Safety
    ///
    /// `to` points into a live map value.
    #[inline(always)]
    pub(crate) unsafe fn or32(to: *mut u32, bits: u32) -> u32 {
        // SAFETY: the caller's promise.
        unsafe {
            let before = core::ptr::read_volatile(to);
            core::ptr::write_volatile(to, before | bits);
            before
        }
    }

    /// Stores `new` if `*to` is still `old`, and says so.
    ///
    /// # Safety
    ///
    /// `to` points into a live map value.
    #[inline(always)]
    pub(crate) unsafe fn replace(to: *mut u64, old: u64, new: u64) -> bool {
        // SAFETY: the caller's promise.
        unsafe {
            let is_old = core::ptr::read_volatile(to) == old;
            if is_old {
                core::ptr::write_volatile(to, new);
            }
            is_old
        }
    }

    /// Stores `new`.
    ///
    /// # Safety
    ///
    /// `to` points into a live map value.
    #[inline(always)]
    pub(crate) unsafe fn publish(to: *mut u64, new: u64) {
        // SAFETY: the caller's promise.
        unsafe { core::ptr::write_volatile(to, new) };
    }
}

#[cfg(feature = "legacy")]
pub(crate) use plain::{or, or32, publish, replace};
