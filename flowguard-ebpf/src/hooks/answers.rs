//! What mail servers answer: whether they accept a connection, and what they reply.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_load_bytes, programs::TcContext};
use flowguard_common::{
    class::CLASSES,
    counters::Stat,
    event::{REPLY_ROOM, REPLY_TEXT, ReplyEvent},
    flow::{
        self, Answer, FLOW_CLASS, FLOW_ENCRYPTED, FLOW_ESTABLISHED, FLOW_PLAIN, FLOW_REFUSED, Flow,
        Reply,
    },
    packet::Segment,
    settings::Settings,
    smtp::{self, LOST, START_MAIL, State, TLS_HANDSHAKE},
};

use super::device::TCP_ENDS;
use crate::{
    atomic, count, events, flows,
    judge::Which,
    maps::{EVENTS, FOUND},
};

/// Bytes of a segment's payload that are read. Replies are short; what is longer is counted as
/// `ReplyUnread`.
const READ: u32 = 768;

/// An attempt that is answered.
pub(crate) struct Answered<'a> {
    pub(crate) flow: *mut Flow,
    pub(crate) source: u32,
    /// [`flowguard_common::class::Class::index`].
    pub(crate) index: u32,
    pub(crate) ifindex: u32,
    pub(crate) now_ns: u64,
    pub(crate) settings: &'a Settings,
}

/// Takes in a segment that the other side sent.
///
/// # Safety
///
/// The flow is in a live map.
#[inline(always)]
pub(crate) unsafe fn on_segment(ctx: &TcContext, segment: &Segment, answered: &Answered<'_>) {
    let Answered {
        flow,
        index,
        now_ns,
        ..
    } = *answered;
    let reply = Reply {
        flags: segment.flags,
        seq: segment.seq,
        ack: segment.ack,
        bytes: segment.bytes,
    };
    // SAFETY: the caller's promise.
    unsafe {
        match core::ptr::read_volatile(flow).answer(&reply) {
            Answer::Nothing => {}
            Answer::Established => {
                (*flow).next = segment.seq.wrapping_add(1);
                (*flow).line = 0;
                count::outcome(&raw mut (*flow).flags, FLOW_ESTABLISHED, index);
            }
            Answer::Refused => count::outcome(&raw mut (*flow).flags, FLOW_REFUSED, index),
            Answer::Closed => flows::close(flow, index, now_ns),
            Answer::Payload { skip, lost } => {
                (*flow).next = segment.seq.wrapping_add(segment.bytes);
                if lost {
                    (*flow).line = LOST;
                }
                if (*flow).flags & FLOW_ENCRYPTED == 0 {
                    read(ctx, segment, skip, answered);
                }
                if segment.flags & TCP_ENDS != 0 {
                    flows::close(flow, index, now_ns);
                }
            }
        }
    }
}

/// Reads the payload behind `skip` bytes.
///
/// # Safety
///
/// The flow is in a live map.
#[inline(always)]
unsafe fn read(ctx: &TcContext, segment: &Segment, skip: u32, answered: &Answered<'_>) {
    let start = segment.payload.wrapping_add(skip);
    let left = segment.bytes.wrapping_sub(skip);
    // SAFETY: the caller's promise.
    let line = unsafe { (*answered.flow).line };
    // SAFETY: the kernel's context and plain numbers.
    let line = unsafe { read_payload(ctx.skb.skb, start, left, line) };
    if line == TLS {
        // SAFETY: the caller's promise.
        unsafe { encrypted(answered) };
        return;
    }
    // SAFETY: the caller's promise.
    unsafe { (*answered.flow).line = line };
    if left > READ {
        count::stat(Stat::ReplyUnread);
    }
    // SAFETY: the caller's promise, and plain numbers.
    let refusal = unsafe {
        let flags = &raw mut (*answered.flow).flags;
        let more = told(core::ptr::read_volatile(flags));
        let before = atomic::or32(flags, more);
        count_replies(answered.index, more & !before)
    };
    if refusal != 0
        && events::may_raise(
            answered.settings,
            Which::Replies,
            answered.source,
            answered.now_ns,
        )
    {
        raise(ctx, segment, refusal, answered);
    }
}

/// The reader of the payload in hand, and what it found.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Found {
    /// Replies by first digit, 16 bits each: 2xx lowest.
    replies: u64,
    messages: u32,
    /// Where in the frame the first 4xx or 5xx begins; 0: there is none.
    refusal: u32,
    line: State,
    pad: u32,
}

/// Instead of the reader's state: a TLS record begins.
const TLS: State = State::MAX;

/// Reads up to `READ` bytes and returns the reader's state after them; what it found is in `FOUND`.
///
/// A global function (see [`crate::judge`]).
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn read_payload(skb: *mut __sk_buff, start: u32, left: u32, line: u32) -> u32 {
    let ctx = TcContext::new(skb);
    let Some(found) = FOUND.get_ptr_mut(0) else {
        return LOST;
    };
    // SAFETY: an element of a live map, this CPU's, here and below.
    unsafe {
        core::ptr::write_volatile(&raw mut (*found).replies, 0);
        core::ptr::write_volatile(&raw mut (*found).messages, 0);
        core::ptr::write_volatile(&raw mut (*found).refusal, 0);
        core::ptr::write_volatile(&raw mut (*found).line, line);
    }
    for at in 0..READ {
        if at >= left {
            break;
        }
        let Ok(byte) = ctx.load::<u8>(start.wrapping_add(at) as usize) else {
            break;
        };
        // Three digits before; a line that began in an earlier segment is told from here on.
        let begins = start.wrapping_add(at.saturating_sub(3));
        // SAFETY: plain numbers.
        if unsafe { read_byte(byte.into(), begins) } != 0 {
            return TLS;
        }
    }
    if left > READ {
        return LOST;
    }
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const (*found).line) }
}

/// Reads one byte of a line whose code, if this completes it, begins at `begins`. Not 0: a TLS
/// record begins instead.
///
/// A global function, called for each byte: inlined, its 250 instructions would be walked 768 times.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn read_byte(byte: u32, begins: u32) -> u32 {
    let Some(found) = FOUND.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: an element of a live map, this CPU's.
    let found = unsafe { &mut *found };
    let byte = byte as u8;
    if found.line == 0 && byte == TLS_HANDSHAKE {
        return 1;
    }
    let step = smtp::step(found.line, byte);
    found.line = step.state;
    if step.reply != 0 {
        let digit = (step.reply / 100).wrapping_sub(2) & 3;
        found.replies += 1 << (16 * digit);
        found.messages += u32::from(step.reply == START_MAIL);
    }
    if step.begins >= 400 && found.refusal == 0 {
        found.refusal = begins;
    }
    0
}

/// Nothing more can be read.
///
/// # Safety
///
/// The flow is in a live map.
#[inline(always)]
unsafe fn encrypted(answered: &Answered<'_>) {
    // SAFETY: the caller's promise.
    let before = unsafe { atomic::or32(&raw mut (*answered.flow).flags, FLOW_ENCRYPTED) };
    if before & FLOW_ENCRYPTED == 0 {
        // SAFETY: an element of a live map.
        count::with(answered.index, |counters| unsafe {
            atomic::add(&raw mut (*counters).encrypted, 1);
        });
    }
}

/// The flags that the replies which were found add to those of a connection.
///
/// A global function like the next one: inlined, each way through them would multiply those of their
/// caller.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn told(flags: u32) -> u32 {
    let Some(found) = FOUND.get_ptr(0) else {
        return 0;
    };
    // SAFETY: an element of a live map, this CPU's.
    let found = unsafe { core::ptr::read_volatile(found) };
    flow::after_replies(flags, found.replies, found.messages)
}

/// Counts the replies that were found, and what they are the first to tell of the connection: flags.
/// Returns where the first that says no begins.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn count_replies(index: u32, news: u32) -> u32 {
    let Some(found) = FOUND.get_ptr(0) else {
        return 0;
    };
    // SAFETY: an element of a live map, this CPU's.
    let found = unsafe { core::ptr::read_volatile(found) };
    // SAFETY: an element of a live map.
    count::with(index, |counters| unsafe {
        for digit in 0..4 {
            let some = found.replies >> (16 * digit) & 0xffff;
            if some != 0 {
                atomic::add(&raw mut (*counters).replies[digit], some);
            }
        }
        if found.messages != 0 {
            atomic::add(&raw mut (*counters).messages, found.messages.into());
        }
        if news & FLOW_PLAIN != 0 {
            atomic::add(&raw mut (*counters).plain, 1);
        }
    });
    found.refusal
}

/// Bytes of text to pass on: an odd number of them, whose lowest bit tells the verifier that it is
/// not 0 ("R4 invalid zero-sized read: u64=[0,199]", Linux 6.18). The last byte ends the line.
#[inline(always)]
fn text_bytes(left: u32) -> u32 {
    left.min(REPLY_TEXT as u32).wrapping_sub(1) & (REPLY_ROOM as u32 - 1) | 1
}

/// Passes the text of a refusal on.
#[inline(always)]
fn raise(ctx: &TcContext, segment: &Segment, at: u32, answered: &Answered<'_>) {
    let Some(mut entry) = EVENTS.reserve_untyped::<ReplyEvent>(0) else {
        count::stat(Stat::RingFull);
        return;
    };
    let end = segment.payload.wrapping_add(segment.bytes);
    let len = text_bytes(end.wrapping_sub(at));
    // SAFETY: the flow is in a live map; the entry is ours until it is submitted, and all of it is
    // written; the helper writes at most the bytes of `text`.
    let loaded = unsafe {
        let event = entry.as_mut_ptr();
        (*event).time_ns = answered.now_ns;
        (*event).source = answered.source;
        (*event).ifindex = answered.ifindex;
        (*event).server = segment.src;
        (*event).port = segment.sport;
        (*event).len = len as u16;
        let class = (*answered.flow).flags & FLOW_CLASS;
        (*event).class = if class < CLASSES { class as u8 } else { 0 };
        (*event).pad = [0; 3];
        (*event).text = [0; REPLY_ROOM];
        (*event).client = segment.dst;
        bpf_skb_load_bytes(ctx.skb.skb.cast(), at, (&raw mut (*event).text).cast(), len)
    };
    if loaded == 0 {
        entry.submit(0);
        count::stat(Stat::Delivered);
    } else {
        entry.discard(0);
    }
}
