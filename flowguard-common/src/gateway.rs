//! Where a gateway remembers the attempts of many prefixes, so that none of them can make it forget
//! another's.
//!
//! A gateway has [`GATEWAY_SLOTS`] of a device's parts of the `FLOWS` array. A prefix has one of them
//! by its hash, and shares it with others; within a set, whoever has a place already gives up one of
//! his own for the next attempt.

use crate::{
    addr,
    flow::{FLOW_WAYS, SYN_MEMORY_NS},
};

/// Parts of the `FLOWS` array that a gateway has: 65,536 attempts, 2 MiB. Within the seven seconds
/// in which Linux sends a SYN four times, that is 9,000 attempts a second.
pub const GATEWAY_SLOTS: u32 = 64;

/// Ways of a set, as an array is long.
const WAYS: usize = FLOW_WAYS as usize;

/// What [`crate::flow::Flow::next`] is at a gateway, which sees no answers: whose attempt it is, as
/// a hash of the key of [`crate::source::prefix_key`]. Never 0.
#[inline(always)]
pub const fn owner(kind: u32, id: u64) -> u32 {
    (addr::mix(addr::mix(id) ^ kind as u64) >> 32) as u32 | 1
}

/// The part in which this owner's attempts are, at the gateway whose first part is `slot`.
#[inline(always)]
pub const fn gateway_slot(slot: u32, owner: u32) -> u32 {
    slot.wrapping_add((owner >> 1) % GATEWAY_SLOTS)
}

/// A place in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Whose attempt is in it.
    pub owner: u32,
    /// When that was seen, `CLOCK_BOOTTIME` nanoseconds; 0: the place is free.
    pub time_ns: u64,
}

/// The place that a new attempt takes. In this order: one that is free or of no use any more; the
/// oldest of the owner's own; the oldest of somebody who has several; the oldest.
#[inline(always)]
pub fn choose(ways: &[Way; WAYS], owner: u32, now_ns: u64) -> usize {
    let mut chosen = 0;
    let mut lowest = u64::MAX;
    for (place, way) in ways.iter().enumerate() {
        let age = now_ns.saturating_sub(way.time_ns);
        let rank: u64 = if way.time_ns == 0 || age >= SYN_MEMORY_NS {
            0
        } else if way.owner == owner {
            1
        } else if ways.iter().filter(|other| other.owner == way.owner).count() > 1 {
            2
        } else {
            3
        };
        // What is left of the time differs within the memory's length, far below 2^60 ns.
        let key = rank << 60 | way.time_ns & ((1 << 60) - 1);
        if key < lowest {
            lowest = key;
            chosen = place;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::{FLOWS_PER_DEVICE, flow_set};

    const FREE: Way = Way {
        owner: 0,
        time_ns: 0,
    };
    const NOW: u64 = 1 << 50;

    fn take(ways: &mut [Way; WAYS], owner: u32, time_ns: u64) -> usize {
        let place = choose(ways, owner, time_ns);
        ways[place] = Way { owner, time_ns };
        place
    }

    #[test]
    fn a_flood_gives_way_to_others_and_takes_from_itself() {
        let mut ways = [FREE; WAYS];
        let (flood, honest) = (1, 3);
        for n in 0..100 {
            take(&mut ways, flood, NOW + n);
        }
        let place = take(&mut ways, honest, NOW + 100);
        for n in 101..200 {
            take(&mut ways, flood, NOW + n);
        }
        assert_eq!(ways[place].owner, honest);
    }

    #[test]
    fn what_is_of_no_use_any_more_goes_first() {
        let mut ways = [FREE; WAYS];
        for (n, way) in ways.iter_mut().enumerate() {
            *way = Way {
                owner: 2 * n as u32 + 1,
                time_ns: NOW + n as u64,
            };
        }
        ways[2].time_ns = NOW - SYN_MEMORY_NS;
        assert_eq!(choose(&ways, 1, NOW), 2);
    }

    #[test]
    fn families_and_neighbours_have_parts_of_their_own() {
        assert_ne!(owner(2, 7), owner(3, 7));
        let parts: std::collections::HashSet<_> = (0..256_u64)
            .map(|host| gateway_slot(0, owner(2, 0x0a4d_0100 | host)))
            .collect();
        assert!(parts.len() > 55, "{}", parts.len());
    }

    proptest! {
        /// Whoever has a place in a set takes none from another who has only one there.
        #[test]
        fn owners_of_one_place_keep_it(
            steps in proptest::collection::vec(0_u32..6, 1..200),
        ) {
            let mut ways = [FREE; WAYS];
            for (n, owner) in steps.into_iter().enumerate() {
                let owner = 2 * owner + 1;
                let before = ways;
                let place = take(&mut ways, owner, NOW + n as u64);
                let had_one = before.iter().any(|way| way.owner == owner);
                let victim = before[place].owner;
                if had_one && victim != 0 {
                    prop_assert_eq!(victim, owner);
                }
            }
        }

        #[test]
        fn all_places_are_the_gateways(slot in 0_u32..1_000, id: u64, tag: u64) {
            let set = flow_set(gateway_slot(slot, owner(3, id)), tag);
            let per_slot = FLOWS_PER_DEVICE;
            prop_assert!(set >= slot * per_slot);
            prop_assert!(set + FLOW_WAYS <= (slot + GATEWAY_SLOTS) * per_slot);
        }
    }
}
