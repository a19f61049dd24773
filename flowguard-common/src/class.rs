//! The three kinds of SMTP traffic that are counted and judged apart.

/// What a connection to a guarded port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Port 25 to the world: what only a mail server does.
    Direct = 0,
    /// A submission port (465, 587, 2525 and what is configured) to the world.
    Submission = 1,
    /// A guarded port at a trusted destination: the host itself or a configured relay.
    Relay = 2,
}

/// How many classes there are.
pub const CLASSES: u32 = 3;

impl Class {
    /// All classes, in the order of their numbers.
    pub const ALL: [Self; CLASSES as usize] = [Self::Direct, Self::Submission, Self::Relay];

    /// The class of a number found in a map or an event.
    #[inline(always)]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Direct),
            1 => Some(Self::Submission),
            2 => Some(Self::Relay),
            _ => None,
        }
    }

    /// Where this class of a source stands in the arrays that hold one value per source and class.
    #[inline(always)]
    pub const fn index(self, source: u32) -> u32 {
        source.wrapping_mul(CLASSES).wrapping_add(self as u32)
    }

    /// The name used in configuration, output and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Submission => "submission",
            Self::Relay => "relay",
        }
    }
}
