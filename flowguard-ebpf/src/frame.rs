//! How the parser reads packets.

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_load_bytes, programs::TcContext};
use flowguard_common::packet::{self, Frame, Step};

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

    #[inline(always)]
    fn step(&self, from: Step) -> Step {
        // SAFETY: the kernel's context.
        let packed = unsafe { step_skb(self.0, from.end, from.pack()) };
        Step::unpack(packed, from.end)
    }
}

/// A global function (see [`crate::judge`]): whatever an extension header is, to the verifier it is
/// one step, and what follows it is the same.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn step_skb(skb: *mut __sk_buff, end: u32, from: u64) -> u64 {
    packet::step(&Skb(skb), Step::unpack(from, end)).pack()
}
