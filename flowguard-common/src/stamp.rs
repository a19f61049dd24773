//! What the hooks leave on a socket (`STAMPS`), so that an attempt is counted exactly once between
//! the connect hook, the edge and the uplink, and its true destination is known.

use crate::{addr::Addr, event::NO_SOURCE, flow::Flow};

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

/// The connection goes to the smarthost instead of [`Stamp::dst`].
pub const STAMP_REDIRECTED: u32 = 64;

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
    /// [`crate::class::Class`] of its packets, as far as the connect hook knows: a port rewritten on
    /// the way makes another.
    pub class: u32,
    /// Source id of who made the socket, or [`crate::event::NO_SOURCE`]: it may be passed on, and
    /// its maker may move or change its uid.
    pub maker: u32,
    /// Real uid of who made the socket, in the initial user namespace.
    pub maker_uid: u32,
    /// What came of the attempt, as the uplink sees it.
    pub flow: Flow,
    /// Where the program wanted to connect to, if it was redirected.
    pub dst: Addr,
    /// To which port, host order.
    pub dport: u32,
    /// Class that the attempt and what comes of it are counted in: that of [`Stamp::dst`], if it was
    /// redirected.
    pub counted: u32,
}

const _: () = assert!(size_of::<Stamp>() == 80 && align_of::<Stamp>() == 8);

impl Stamp {
    /// Of a socket nothing is known of.
    pub const EMPTY: Self = Self {
        source: NO_SOURCE,
        flags: 0,
        seq: 0,
        class: 0,
        maker: NO_SOURCE,
        maker_uid: 0,
        flow: Flow {
            tag: 0,
            time_ns: 0,
            seq: 0,
            flags: 0,
            next: 0,
            line: 0,
        },
        dst: [0; 16],
        dport: 0,
        counted: 0,
    };
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
            ..Stamp::EMPTY
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
}
