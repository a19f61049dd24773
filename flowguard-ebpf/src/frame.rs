//! How the parser reads packets.

use core::{hint::black_box, mem::MaybeUninit};

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    helpers::bpf_skb_load_bytes,
    programs::{TcContext, XdpContext},
};
use flowguard_common::packet::{self, Frame, MAX_EXTENSIONS, Step};

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

/// A packet of an XDP program, as it lies in memory.
pub(crate) struct Xdp(*mut xdp_md);

impl Xdp {
    #[inline(always)]
    pub(crate) fn of(ctx: &XdpContext) -> Self {
        Self(ctx.ctx)
    }
}

/// Bytes that are read at once.
const WORD: usize = size_of::<u64>();
/// How often at most for one read.
const WORDS: usize = 3;

impl Frame for Xdp {
    #[inline(always)]
    fn bytes(&self) -> u32 {
        // Read anew each time: what the verifier learns of the length in one comparison would decide
        // another, and then the exact offsets of both matter.
        // SAFETY: the kernel's context, 4-byte reads.
        unsafe {
            let start = core::ptr::read_volatile(&raw const (*self.0).data);
            let end = core::ptr::read_volatile(&raw const (*self.0).data_end);
            (end as usize - start as usize) as u32
        }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if offset + N as u32 > self.bytes() {
            return None;
        }
        const { assert!(N <= WORDS * WORD) };
        let mut words = [0; WORDS];
        let mut at = 0;
        for word in &mut words {
            if at < N {
                // SAFETY: the kernel's context.
                *word = unsafe { read_xdp(self.0, offset + at as u32) };
            }
            at += WORD;
        }
        // SAFETY: `N` bytes or more, of which every pattern is fine.
        Some(unsafe { core::mem::transmute_copy(&words) })
    }

    #[inline(always)]
    fn step(&self, from: Step) -> Step {
        // SAFETY: the kernel's context.
        let packed = unsafe { step_xdp(self.0, from.end, from.pack()) };
        Step::unpack(packed, from.end)
    }
}

/// As [`step_skb`].
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn step_xdp(ctx: *mut xdp_md, end: u32, from: u64) -> u64 {
    packet::step(&Xdp(ctx), Step::unpack(from, end)).pack()
}

/// Bits of an offset: more than all headers that are followed are long together. The verifier does
/// not follow a packet beyond 64 KiB (`MAX_PACKET_OFF`, kernel/bpf/verifier.c).
const OFFSET: u32 = (1 << 15) - 1;

/// Two tags, an IPv6 header, extension headers of the greatest length, and a TCP header.
const _: () = assert!(14 + 2 * 4 + 40 + MAX_EXTENSIONS * 256 * 8 + 60 < OFFSET as usize);

/// The next bytes of a packet; 0 for those beyond its end.
///
/// A global function (see [`crate::judge`]), in which the offset is any number. Added to a packet's
/// pointer along the way of the parser, its exact value would matter to the verifier from there on,
/// and no two ways would ever be alike: 1,000,001 instructions and no end (Linux 6.18).
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn read_xdp(ctx: *mut xdp_md, offset: u32) -> u64 {
    let ctx = XdpContext::new(ctx);
    let end = ctx.data_end();
    // The pointer that is compared must be the one that is read: the compiler would rather add to
    // the packet's start, and the verifier not see that they are the same.
    let at = black_box(ctx.data() + (offset & OFFSET) as usize);
    if at + WORD <= end {
        // SAFETY: within the packet.
        return unsafe { core::ptr::read_unaligned(at as *const u64) };
    }
    let mut word = [0; WORD];
    for (place, byte) in word.iter_mut().enumerate() {
        let at = black_box(at + place);
        if at + 1 > end {
            break;
        }
        // SAFETY: within the packet.
        *byte = unsafe { core::ptr::read(at as *const u8) };
    }
    u64::from_ne_bytes(word)
}
