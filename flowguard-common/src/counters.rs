//! What is counted per source and class, and about the guard itself.

/// Counters of one source in one class. Cumulative, never reset: readers subtract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ClassCounters {
    /// Connections tried, each once: retransmitted SYNs are not new attempts.
    pub attempts: u64,
    /// Attempts refused by a verdict or a ceiling.
    pub denied: u64,
    /// Attempts that would have been refused in enforce mode.
    pub would_deny: u64,
    /// First contacts with a destination within its epoch (see [`crate::fanout`]).
    pub destinations: u64,
    /// SYNs seen again, at hooks that see packets.
    pub retransmits: u64,
    /// `CLOCK_BOOTTIME` of the last attempt, in nanoseconds.
    pub last_seen_ns: u64,
    /// Attempts that the other side accepted.
    pub established: u64,
    /// Attempts that the other side refused with a reset.
    pub refused: u64,
    /// Attempts that nobody had answered when they were given up (see [`crate::flow`]).
    pub timed_out: u64,
    /// Attempts that were sent to the smarthost instead.
    pub redirected: u64,
    /// Bytes of payload sent, those sent again included.
    pub bytes: u64,
    /// Replies of the other side by their first digit: 2xx, 3xx, 4xx, 5xx (RFC 5321, section 4.2.1).
    pub replies: [u64; 4],
    /// Replies 354: the other side is ready to take a message (RFC 5321, section 4.1.1.4).
    pub messages: u64,
    /// Connections that turned to TLS, of whose replies nothing more can be read.
    pub encrypted: u64,
    /// How long the connections that ended were open, together, in milliseconds.
    pub open_ms: u64,
    /// Connections that went on without TLS: after its greeting the other side took a message, or
    /// refused something, in the clear. Each once, however much was said.
    pub plain: u64,
    /// Room for more; zero.
    pub reserved: [u64; RESERVED],
}

/// Words of [`ClassCounters`] without a meaning yet.
pub const RESERVED: usize = if cfg!(feature = "grown") { 13 } else { 5 };

const _: () = assert!(size_of::<ClassCounters>() == 192 - 8 * 5 + 8 * RESERVED);

/// What the guard counts about itself, as indices of the `STATS` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stat {
    /// Events the ring buffer had no room for.
    RingFull = 0,
    /// Events beyond a source's event rate.
    RateLimited = 1,
    /// Events delivered to the ring buffer.
    Delivered = 2,
    /// Attempts of unregistered sources that found the fallback table full: passed, uncounted
    /// elsewhere.
    FallbackFull = 3,
    /// Attempts counted under the fallback because their source was not registered yet.
    Unregistered = 4,
    /// Sockets that could not be stamped: the edge may not recognise them.
    StampFailed = 5,
    /// Packets at an edge device that is not registered: passed, uncounted.
    UnknownEdge = 6,
    /// IP packets at an edge whose headers could not be followed to the end: passed.
    Unparsed = 7,
    /// Limit decisions given up under contention: passed.
    Contended = 8,
    /// Packets at an edge made to hide their port or their flags: dropped in enforce mode.
    HiddenPort = 9,
    /// Packets of tunnels at an edge, which are not looked into: passed.
    Encapsulated = 10,
    /// SYNs to guarded ports that left the host and that nobody accounts for: passed.
    Stray = 11,
    /// Attempts whose outcome is lost, since the table that remembers them was full of newer ones
    /// of the same device.
    FlowForgotten = 12,
    /// Segments of replies longer than what is looked at; the rest was left unread.
    ReplyUnread = 13,
}

/// How many [`Stat`]s there are.
pub const STATS: u32 = 14;

impl Stat {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; STATS as usize] = [
        Self::RingFull,
        Self::RateLimited,
        Self::Delivered,
        Self::FallbackFull,
        Self::Unregistered,
        Self::StampFailed,
        Self::UnknownEdge,
        Self::Unparsed,
        Self::Contended,
        Self::HiddenPort,
        Self::Encapsulated,
        Self::Stray,
        Self::FlowForgotten,
        Self::ReplyUnread,
    ];

    /// The name used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "events_dropped_ring_full",
            Self::RateLimited => "events_dropped_rate_limited",
            Self::Delivered => "events_delivered",
            Self::FallbackFull => "attempts_without_source",
            Self::Unregistered => "attempts_before_registration",
            Self::StampFailed => "sockets_not_stamped",
            Self::UnknownEdge => "packets_at_unknown_edge",
            Self::Unparsed => "packets_unparsed",
            Self::Contended => "limits_given_up",
            Self::HiddenPort => "packets_hiding_their_port",
            Self::Encapsulated => "packets_encapsulated",
            Self::Stray => "strays",
            Self::FlowForgotten => "outcomes_forgotten",
            Self::ReplyUnread => "replies_unread",
        }
    }
}
