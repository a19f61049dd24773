//! flowguard's kernel programs: thin entries over `flowguard-common`, one hook a file.
//!
//! They count and enforce; they never decide anything but "is this verdict still valid" and "is
//! this rate exceeded". Whatever goes wrong, traffic passes ([`hooks::connect::PASS`],
//! [`hooks::device::PASS`]) and a counter says so.
//!
//! Minimum kernel: 5.10. The atomics that fetch need 5.12; before that the programs are built with
//! the feature `legacy`, which does without. A chosen errno needs 5.18 and is left out where it is
//! missing.

#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(
    internal_features,
    reason = "core::sync::atomic has no read-modify-write on this target"
)]

mod atomic;
mod count;
mod events;
mod flows;
mod frame;
mod hooks;
mod identity;
mod judge;
mod maps;
mod tuning;

/// Never reached: the verifier rejects a program that could get here, since it does not end.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// What the kernel checks before it offers GPL-only helpers; the crate is also under MIT.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
