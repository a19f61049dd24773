//! How the parser reads packets.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_load_bytes, programs::TcContext};
use flowguard_common::packet::Frame;

/// A packet of a TC program.
pub(crate) struct Skb(*mut __sk_buff);

impl Skb {
    #[inline(always)]
    pub(crate) fn of(ctx: &TcContext) -> Self {
        Self(ctx.skb.skb)
    }
}

/// On the target an access must be aligned: what is known to be gets read by the word.
#[repr(C, align(8))]
struct Aligned<const N: usize>([u8; N]);

impl Frame for Skb {
    #[inline(always)]
    fn bytes(&self) -> u32 {
        // SAFETY: the kernel's context, a 4-byte read.
        unsafe { (*self.0).len }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<Aligned<N>>::uninit();
        // SAFETY: the kernel's context, and room for `N` bytes, which are written.
        unsafe {
            let to = bytes.as_mut_ptr().cast();
            if bpf_skb_load_bytes(self.0.cast(), offset, to, N as u32) != 0 {
                return None;
            }
            Some(bytes.assume_init().0)
        }
    }
}
