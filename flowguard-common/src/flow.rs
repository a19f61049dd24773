//! What is remembered of an attempt after its SYN: on the socket (within a [`crate::stamp::Stamp`])
//! for users of the host, and per device (`FLOWS`) for everybody behind an edge or a gateway, so
//! that it is counted once and its outcome is known.
//!
//! Each attempt has at most one outcome: *established*, *refused*, or *timed out*, which means that
//! it was unanswered when its socket was closed, when the next attempt between the same ends began,
//! or when it was [`crate::settings::Settings::answer_ns`] old, whichever came first at the hook that
//! remembers it.

use crate::addr::{self, Addr};

/// Remembered attempts per device: 32 KiB.
pub const FLOWS_PER_DEVICE: u32 = 1024;
/// Places an attempt may be remembered in: a set of a set-associative table.
pub const FLOW_WAYS: u32 = 4;
/// How many of them are settled by one run of the program that does it: the verifier walks all.
pub const FLOWS_PER_SWEEP: u32 = 256;

/// What the daemon hands that program in place of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Sweep {
    /// The device's part of the table.
    pub slot: u32,
    /// Whose device it is.
    pub source: u32,
    /// Which part of the device's part, below `FLOWS_PER_DEVICE / FLOWS_PER_SWEEP`.
    pub part: u32,
    /// Zero: a frame has at least 14 bytes.
    pub pad: u32,
}

/// How long a SYN is told from a new attempt, nanoseconds: longer than Linux goes on retransmitting
/// one (tcp_syn_retries = 6 gives up after 127 s, Documentation/networking/ip-sysctl.rst).
pub const SYN_MEMORY_NS: u64 = 150_000_000_000;

/// How long after it was first seen a SYN that was answered is still taken for a copy of it,
/// nanoseconds. Copies come at once; a whole SMTP session, after which somebody who writes his own
/// packets could use the same numbers again to be counted once for many, takes longer.
pub const COPY_NS: u64 = 100_000_000;

/// Bits of [`Flow::flags`] that hold the [`crate::class::Class`].
pub const FLOW_CLASS: u32 = 3;
/// The SYN was seen.
pub const FLOW_SENT: u32 = 4;
/// The attempt was denied.
pub const FLOW_DENIED: u32 = 8;
/// The other side accepted.
pub const FLOW_ESTABLISHED: u32 = 16;
/// The other side refused.
pub const FLOW_REFUSED: u32 = 32;
/// Nobody answered in time.
pub const FLOW_TIMED_OUT: u32 = 64;
/// The connection ended.
pub const FLOW_CLOSED: u32 = 128;
/// It turned to TLS.
pub const FLOW_ENCRYPTED: u32 = 256;
/// A reply 2xx was read.
pub const FLOW_GREETED: u32 = 512;
/// It went on without TLS.
pub const FLOW_PLAIN: u32 = 1024;

/// In place of a [`Flow::tag`]: a CPU is making the place an attempt's, and no other may. No tag is
/// even.
pub const TAG_TAKEN: u64 = 2;

/// Of these, the first to be set is the outcome.
pub const FLOW_OUTCOMES: u32 = FLOW_ESTABLISHED | FLOW_REFUSED | FLOW_TIMED_OUT;

/// An attempt and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// [`flow_tag`], or [`TAG_TAKEN`]; 0: free, or on a socket.
    pub tag: u64,
    /// When the SYN was first seen, `CLOCK_BOOTTIME` nanoseconds.
    pub time_ns: u64,
    /// Initial sequence number.
    pub seq: u32,
    /// `FLOW_*` bits.
    pub flags: u32,
    /// Sequence number that is expected of the other side next; at a gateway
    /// [`crate::gateway::owner`].
    pub next: u32,
    /// [`crate::smtp::State`].
    pub line: u32,
}

const _: () = assert!(size_of::<Flow>() == 32 && align_of::<Flow>() == 8);

/// What a packet of the other side means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing that is counted.
    Nothing,
    /// It accepted; its next sequence number is known.
    Established,
    /// It refused.
    Refused,
    /// New payload, behind so many bytes that came before.
    Payload {
        /// Bytes to pass over.
        skip: u32,
        /// Something before it never came past.
        lost: bool,
    },
    /// It ended an established connection.
    Closed,
}

/// The other side's segment, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Flag byte of the TCP header.
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Bytes of payload.
    pub bytes: u32,
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

impl Flow {
    /// Whether the attempt awaits its outcome.
    #[inline(always)]
    pub const fn is_open(&self) -> bool {
        self.flags & (FLOW_SENT | FLOW_DENIED | FLOW_OUTCOMES) == FLOW_SENT
    }

    /// Whether a SYN with this sequence number is this attempt's again. After an answer nobody
    /// sends one again, but a copy may still be on its way; another CPU may have looked at its clock
    /// before the attempt was remembered.
    #[inline(always)]
    pub const fn is_again(&self, seq: u32, now_ns: u64) -> bool {
        let memory = if self.flags & (FLOW_ESTABLISHED | FLOW_REFUSED) == 0 {
            SYN_MEMORY_NS
        } else {
            COPY_NS
        };
        self.flags & FLOW_SENT != 0 && self.seq == seq && now_ns < self.time_ns.wrapping_add(memory)
    }

    /// Whether an attempt that awaits its outcome has waited too long.
    #[inline(always)]
    pub const fn is_overdue(&self, now_ns: u64, answer_ns: u64) -> bool {
        self.is_open() && now_ns.saturating_sub(self.time_ns) >= answer_ns
    }

    /// What a segment of the other side means to this attempt. Answers that do not acknowledge
    /// its SYN are somebody else's (RFC 9293, section 3.10.7.3).
    #[inline(always)]
    pub const fn answer(&self, reply: &Reply) -> Answer {
        if self.flags & (FLOW_SENT | FLOW_DENIED) != FLOW_SENT {
            return Answer::Nothing;
        }
        if self.flags & FLOW_ESTABLISHED == 0 {
            // With fast open, it acknowledges data as well; a window is at most 2^30 long.
            let acknowledges = reply.flags & ACK != 0
                && reply.ack.wrapping_sub(self.seq).wrapping_sub(1) < 1 << 30;
            return if !acknowledges {
                Answer::Nothing
            } else if reply.flags & RST != 0 {
                Answer::Refused
            } else if reply.flags & SYN != 0 {
                Answer::Established
            } else {
                Answer::Nothing
            };
        }
        if reply.flags & RST != 0 {
            return Answer::Closed;
        }
        let behind = self.next.wrapping_sub(reply.seq);
        if reply.bytes != 0 && reply.flags & SYN == 0 {
            // In order, overlapping, or after a gap.
            if behind < reply.bytes {
                return Answer::Payload {
                    skip: behind,
                    lost: false,
                };
            }
            if behind > 1 << 31 {
                return Answer::Payload {
                    skip: 0,
                    lost: true,
                };
            }
        }
        if reply.flags & FIN != 0 {
            Answer::Closed
        } else {
            Answer::Nothing
        }
    }
}

/// The flags of a connection after replies that were read in a segment: by first digit, 16 bits each,
/// 2xx lowest, and how many of them asked for a message.
///
/// It went on without TLS when it was greeted and then a message was asked for or something refused.
/// A refusal in place of the greeting says nothing: TLS had no chance before it.
#[inline(always)]
pub const fn after_replies(flags: u32, replies: u64, messages: u32) -> u32 {
    let greeted = if replies & 0xffff == 0 {
        flags
    } else {
        flags | FLOW_GREETED
    };
    if greeted & FLOW_GREETED != 0 && (messages != 0 || replies >> 32 != 0) {
        greeted | FLOW_PLAIN
    } else {
        greeted
    }
}

/// An attempt's identity: both ends, the tenant's first. An odd number.
#[inline(always)]
pub fn flow_tag(src: &Addr, sport: u16, dst: &Addr, dport: u16) -> u64 {
    let ports = (u64::from(sport) << 16) | u64::from(dport);
    addr::hash(src, addr::hash(dst, ports)) | 1
}

/// A SYN as it leaves the host, whatever the host has made of its source address on the way. Never 0.
#[inline(always)]
pub fn syn_tag(dst: &Addr, dport: u16, seq: u32) -> u64 {
    addr::hash(dst, (u64::from(dport) << 32) | u64::from(seq)) | 1
}

/// Places for SYNs on their way from an edge to an uplink; a power of two. A packet is there within
/// microseconds, so few are on their way at once, and one that is overwritten is taken for a stray.
pub const SYNS_ON_THEIR_WAY: u32 = 65_536;

/// Index of the first of the [`FLOW_WAYS`] places for `tag` on the device with this slot.
#[inline(always)]
pub const fn flow_set(slot: u32, tag: u64) -> u32 {
    let sets = FLOWS_PER_DEVICE / FLOW_WAYS;
    slot.wrapping_mul(FLOWS_PER_DEVICE)
        .wrapping_add(((tag >> 32) as u32 % sets).wrapping_mul(FLOW_WAYS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: Flow = Flow {
        tag: 1,
        time_ns: 1_000,
        seq: u32::MAX,
        flags: FLOW_SENT,
        next: 0,
        line: 0,
    };

    const fn reply(flags: u8, seq: u32, ack: u32, bytes: u32) -> Reply {
        Reply {
            flags,
            seq,
            ack,
            bytes,
        }
    }

    #[test]
    fn an_answer_has_to_acknowledge_the_syn() {
        // The sequence number after u32::MAX is 0.
        for (flags, ack, expected) in [
            (SYN | ACK, 0, Answer::Established),
            (SYN | ACK, 100, Answer::Established),
            (SYN | ACK, u32::MAX, Answer::Nothing),
            (SYN | ACK, 1 << 31, Answer::Nothing),
            (RST | ACK, 0, Answer::Refused),
            (RST | ACK, u32::MAX, Answer::Nothing),
            (RST, 0, Answer::Nothing),
            (ACK, 0, Answer::Nothing),
            (SYN, 0, Answer::Nothing),
        ] {
            assert_eq!(
                SENT.answer(&reply(flags, 7, ack, 0)),
                expected,
                "{flags} {ack}"
            );
        }
        let denied = Flow {
            flags: FLOW_SENT | FLOW_DENIED,
            ..SENT
        };
        assert_eq!(denied.answer(&reply(SYN | ACK, 7, 0, 0)), Answer::Nothing);
    }

    #[test]
    fn payload_is_read_once_and_in_order() {
        let flow = Flow {
            flags: FLOW_SENT | FLOW_ESTABLISHED,
            next: 5,
            ..SENT
        };
        for (seq, bytes, expected) in [
            (
                5,
                10,
                Answer::Payload {
                    skip: 0,
                    lost: false,
                },
            ),
            (
                0,
                10,
                Answer::Payload {
                    skip: 5,
                    lost: false,
                },
            ),
            (u32::MAX, 6, Answer::Nothing),
            (
                u32::MAX,
                7,
                Answer::Payload {
                    skip: 6,
                    lost: false,
                },
            ),
            (
                6,
                10,
                Answer::Payload {
                    skip: 0,
                    lost: true,
                },
            ),
            (5, 0, Answer::Nothing),
        ] {
            assert_eq!(
                flow.answer(&reply(ACK, seq, 0, bytes)),
                expected,
                "{seq} {bytes}"
            );
        }
        assert_eq!(flow.answer(&reply(FIN | ACK, 5, 0, 0)), Answer::Closed);
        assert_eq!(flow.answer(&reply(RST, 5, 0, 0)), Answer::Closed);
    }

    #[test]
    fn a_session_is_plain_once_the_greeted_is_asked_for_a_message_or_refused() {
        const OK: u64 = 1;
        const MORE: u64 = 1 << 16;
        const LATER: u64 = 1 << 32;
        const NEVER: u64 = 1 << 48;
        let after = |segments: &[(u64, u32)]| {
            let heard = |flags, (replies, messages)| after_replies(flags, replies, messages);
            segments.iter().copied().fold(FLOW_ESTABLISHED, heard)
        };
        let (greeted, plain) = (FLOW_GREETED, FLOW_GREETED | FLOW_PLAIN);
        for (segments, expected) in [
            (&[][..], 0),
            (&[(NEVER, 0)], 0),
            (&[(LATER, 0), (NEVER, 0)], 0),
            (&[(NEVER, 0), (OK, 0)], greeted),
            (&[(OK, 0), (3 * OK, 0)], greeted),
            // AUTH.
            (&[(OK, 0), (MORE, 0)], greeted),
            (&[(OK, 0), (MORE, 1)], plain),
            (&[(OK, 0), (LATER, 0)], plain),
            (&[(OK, 0), (NEVER, 0), (OK, 0)], plain),
            // Replies to commands that were sent together.
            (&[(2 * OK + MORE, 1)], plain),
            (&[(2 * OK + 20 * NEVER, 0)], plain),
        ] {
            assert_eq!(after(segments), FLOW_ESTABLISHED | expected, "{segments:?}");
        }
    }

    #[test]
    fn a_syn_is_the_same_until_it_is_answered_or_too_old() {
        assert!(SENT.is_again(u32::MAX, 2_000));
        assert!(SENT.is_again(u32::MAX, 999));
        assert!(!SENT.is_again(1, 2_000));
        assert!(!SENT.is_again(u32::MAX, 1_000 + SYN_MEMORY_NS));
        for outcome in [FLOW_ESTABLISHED, FLOW_REFUSED] {
            let answered = Flow {
                flags: FLOW_SENT | outcome,
                ..SENT
            };
            assert!(answered.is_again(u32::MAX, 2_000));
            assert!(!answered.is_again(u32::MAX, 1_000 + COPY_NS));
            assert!(!answered.is_overdue(u64::MAX, 9));
        }
        assert!(!SENT.is_overdue(2_000, 1_001));
        assert!(SENT.is_overdue(2_000, 1_000));
    }

    #[test]
    fn sets_stay_inside_the_device_and_tags_are_neither_free_nor_taken() {
        for sport in 0..10_000 {
            let tag = flow_tag(&[1; 16], sport, &[2; 16], 25);
            assert!(tag != 0 && tag != TAG_TAKEN);
            let set = flow_set(3, tag);
            assert!((3 * FLOWS_PER_DEVICE..4 * FLOWS_PER_DEVICE).contains(&set));
            assert_eq!(set % FLOW_WAYS, 0);
        }
    }
}
