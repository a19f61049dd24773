//! How many different destinations a source talks to: a linear-counting bitmap (Whang et al.,
//! "A Linear-Time Probabilistic Counting Algorithm", 1990) per source and class.
//!
//! The bitmap starts afresh every epoch, since a bitmap that only fills would call everybody's
//! next destination known. That of the epoch before is kept: whoever was a destination in either
//! is *known*, and only others are new to a verdict that limits new destinations. A bit found unset is a *first contact*; what is counted is first
//! contacts, so the growth of the counter over a window never exceeds the number of different
//! destinations in it (twice that if an epoch ended inside), and collisions only make it smaller.

/// Bits per source and class. 200 destinations collide into about 190 bits, 1,000 into about 790.
pub const FANOUT_BITS: u32 = 2048;

/// Words of a bitmap.
pub const FANOUT_WORDS: usize = (FANOUT_BITS / 64) as usize;

/// The bitmap of one source in one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Fanout {
    /// Number of the epoch the bits belong to.
    pub epoch: u64,
    /// One bit per hash value.
    pub bits: [u64; FANOUT_WORDS],
    /// The bits of the epoch before.
    pub before: [u64; FANOUT_WORDS],
}

const _: () = assert!(size_of::<Fanout>() == 8 + 2 * FANOUT_BITS as usize / 8);

/// The word and the bit in it that a destination's hash selects.
#[inline(always)]
pub const fn position(hash: u64) -> (usize, u64) {
    let bit = hash as u32 % FANOUT_BITS;
    ((bit / 64) as usize, 1 << (bit % 64))
}

/// Whether a bit was set in this epoch or the one before, told from the word it is in: of a bitmap
/// that is `age` epochs old, and of the one that it keeps from the epoch before its own.
#[inline(always)]
pub const fn is_known(age: u64, bits: u64, before: u64, bit: u64) -> bool {
    match age {
        0 => (bits | before) & bit != 0,
        1 => bits & bit != 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::addr;

    #[test]
    fn two_hundred_destinations_are_nearly_all_told_apart() {
        let positions: HashSet<_> = (0..200)
            .map(|host| position(addr::hash(&addr::from_v4([198, 51, 100, host]), 0x5eed)))
            .collect();
        assert!(
            (180..=200).contains(&positions.len()),
            "{}",
            positions.len()
        );
        assert!(
            positions
                .iter()
                .all(|(word, bit)| *word < FANOUT_WORDS && bit.count_ones() == 1)
        );
    }
}
