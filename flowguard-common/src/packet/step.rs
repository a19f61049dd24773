//! What crosses the call between the walk along extension headers and one step of it.

use super::Kind;

/// A place among extension headers. It crosses the call of a program's function as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where in the frame the next header begins.
    pub at: u32,
    /// Where the packet ends.
    pub end: u32,
    /// What the next header is.
    pub protocol: u8,
    /// The packet is the first of several fragments.
    pub is_fragment: bool,
    /// The header that was passed names another destination.
    pub leads_on: bool,
    /// [`Kind::Tcp`]: the walk goes on; else it ends here, and this is why.
    pub kind: Kind,
}

const PROTOCOL: u32 = 32;
const FRAGMENT: u32 = 40;
const LEADS_ON: u32 = 41;
const KIND: u32 = 48;

impl Step {
    /// All but the end, in one number.
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        self.at as u64
            | (self.protocol as u64) << PROTOCOL
            | (self.is_fragment as u64) << FRAGMENT
            | (self.leads_on as u64) << LEADS_ON
            | (self.kind as u64) << KIND
    }

    /// What was packed, of a packet that ends at `end`.
    #[inline(always)]
    pub const fn unpack(packed: u64, end: u32) -> Self {
        Self {
            at: packed as u32,
            end,
            protocol: (packed >> PROTOCOL) as u8,
            is_fragment: packed >> FRAGMENT & 1 != 0,
            leads_on: packed >> LEADS_ON & 1 != 0,
            kind: Kind::from_code((packed >> KIND) as u32),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_lost_in_a_number(
            at: u32,
            end: u32,
            protocol: u8,
            is_fragment: bool,
            leads_on: bool,
            code in 0..=5_u32,
        ) {
            let kind = Kind::from_code(code);
            let step = Step { at, end, protocol, is_fragment, leads_on, kind };
            prop_assert_eq!(Step::unpack(step.pack(), end), step);
        }
    }
}
