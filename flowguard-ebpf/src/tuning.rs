//! What the daemon tells the programs once, at load: the verifier sees constants and removes what
//! this kernel cannot run.

/// Not 0: `bpf_set_retval` exists for connect hooks (Linux 5.18).
#[unsafe(no_mangle)]
static HAS_SET_RETVAL: u8 = 0;

/// Whether a denied `connect()` can be given an errno of our choice.
#[inline(always)]
pub(crate) fn has_set_retval() -> bool {
    // SAFETY: a static of this program; volatile, because the loader changes it after compilation.
    unsafe { core::ptr::read_volatile(&raw const HAS_SET_RETVAL) != 0 }
}
