//! What is remembered of an attempt so that it is counted exactly once: on the socket (`STAMPS`)
//! between the connect hook and the edge, and per edge device (`SYNS`) for SYNs without a socket.

use crate::addr::{self, Addr};

/// The attempt is already counted; its SYN must not be counted again.
pub const STAMP_COUNTED: u32 = 1;
/// The attempt passed its verdict and its limits; its SYN must not be judged again.
pub const STAMP_JUDGED: u32 = 2;
/// The verdict would have denied it in enforce mode.
pub const STAMP_WOULD_DENY: u32 = 4;
/// A SYN of this attempt has been seen; [`Stamp::seq`] is its sequence number.
pub const STAMP_SENT: u32 = 8;
/// The edge denied this attempt.
pub const STAMP_DENIED: u32 = 16;

/// [`Stamp::maker`] and [`Stamp::maker_uid`] are set.
pub const STAMP_MADE: u32 = 32;

/// What the hooks leave on a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stamp {
    /// Source id at connect time, or [`crate::event::NO_SOURCE`].
    pub source: u32,
    /// `STAMP_*` bits.
    pub flags: u32,
    /// Initial sequence number of the attempt, once seen.
    pub seq: u32,
    /// [`crate::class::Class`] it was judged in: a port rewritten on the way makes another.
    pub class: u32,
    /// Source id of who made the socket, or [`crate::event::NO_SOURCE`]: it may be passed on, and
    /// its maker may move or change its uid.
    pub maker: u32,
    /// Real uid of who made the socket, in the initial user namespace.
    pub maker_uid: u32,
}

/// What a packet hook has to do with a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syn {
    /// A new attempt: judge it, and `count` it or not.
    New {
        /// Nobody counted the attempt yet.
        count: bool,
    },
    /// The first SYN of an attempt that the connect hook judged: `count` it or not.
    Announced {
        /// Nobody counted the attempt yet.
        count: bool,
        /// Observe mode let it pass against its verdict.
        would_deny: bool,
    },
    /// The same SYN again.
    Again {
        /// The first one was denied.
        denied: bool,
    },
}

impl Stamp {
    /// What a SYN with this sequence number is to the device of `source`, judged in `class`, seen
    /// the socket's stamp. One that was judged as another source's or in another class is judged
    /// again: a verdict against either holds.
    #[inline(always)]
    pub fn syn(&self, seq: u32, source: u32, class: u32) -> Syn {
        let count = self.flags & STAMP_COUNTED == 0;
        if self.flags & STAMP_SENT != 0 {
            if self.seq == seq {
                Syn::Again {
                    denied: self.flags & STAMP_DENIED != 0,
                }
            } else {
                // The socket was not announced again: somebody else's packet on this socket.
                Syn::New { count: true }
            }
        } else if self.flags & STAMP_JUDGED == 0 {
            Syn::New { count: true }
        } else if self.source == source && self.class == class {
            Syn::Announced {
                count,
                would_deny: self.flags & STAMP_WOULD_DENY != 0,
            }
        } else {
            Syn::New { count }
        }
    }
}

/// Remembered SYNs per edge device: 16 KiB.
pub const SYNS_PER_EDGE: u32 = 1024;
/// Places a SYN may be remembered in: a set of a set-associative table.
pub const SYN_WAYS: u32 = 4;
/// How long a SYN is remembered, nanoseconds: longer than Linux goes on retransmitting one
/// (tcp_syn_retries = 6 gives up after 127 s, Documentation/networking/ip-sysctl.rst).
pub const SYN_MEMORY_NS: u64 = 150_000_000_000;

/// A remembered SYN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SynEntry {
    /// [`syn_tag`], with the lowest bit telling whether it was denied; 0: free.
    pub tag: u64,
    /// When it was first seen, `CLOCK_BOOTTIME` nanoseconds.
    pub time_ns: u64,
}

/// A SYN's identity: both ends and the initial sequence number. Never 0; the lowest bit is free.
#[inline(always)]
pub fn syn_tag(src: &Addr, sport: u16, dst: &Addr, dport: u16, seq: u32) -> u64 {
    let ports = (u64::from(sport) << 48) | (u64::from(dport) << 32) | u64::from(seq);
    (addr::hash(src, addr::hash(dst, ports)) | 2) & !1
}

/// Index of the first of the [`SYN_WAYS`] places for `tag` on the device with this slot.
#[inline(always)]
pub const fn syn_set(slot: u32, tag: u64) -> u32 {
    let sets = SYNS_PER_EDGE / SYN_WAYS;
    slot.wrapping_mul(SYNS_PER_EDGE)
        .wrapping_add(((tag >> 32) as u32 % sets).wrapping_mul(SYN_WAYS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamped_socket_is_counted_once() {
        let announced = Stamp {
            source: 1,
            flags: STAMP_JUDGED,
            seq: 0,
            class: 0,
            maker: 0,
            maker_uid: 0,
        };
        let syn = |flags, seq, source, class| {
            Stamp {
                flags,
                seq: 5,
                ..announced
            }
            .syn(seq, source, class)
        };
        let judged = STAMP_JUDGED;
        let counted = STAMP_JUDGED | STAMP_COUNTED;
        let once = |count| Syn::Announced {
            count,
            would_deny: false,
        };
        assert_eq!(syn(judged, 5, 1, 0), once(true));
        assert_eq!(syn(counted, 5, 1, 0), once(false));
        assert_eq!(syn(0, 5, 1, 0), Syn::New { count: true });
        assert_eq!(syn(STAMP_SENT, 5, 1, 0), Syn::Again { denied: false });
        assert_eq!(
            syn(STAMP_SENT | STAMP_DENIED, 5, 1, 0),
            Syn::Again { denied: true }
        );
        assert_eq!(syn(STAMP_SENT, 6, 1, 0), Syn::New { count: true });
        // Another port or another source is another matter, but still one attempt.
        assert_eq!(syn(judged, 5, 1, 1), Syn::New { count: true });
        assert_eq!(syn(counted, 5, 1, 1), Syn::New { count: false });
        assert_eq!(syn(counted, 5, 2, 0), Syn::New { count: false });
    }

    #[test]
    fn sets_stay_inside_the_device_and_tags_are_never_free() {
        for seq in 0..10_000 {
            let tag = syn_tag(&[1; 16], 1, &[2; 16], 25, seq);
            assert_ne!(tag, 0);
            assert_eq!(tag & 1, 0);
            let set = syn_set(3, tag);
            assert!((3 * SYNS_PER_EDGE..4 * SYNS_PER_EDGE).contains(&set));
            assert_eq!(set % SYN_WAYS, 0);
        }
    }
}
