//! Which parts of the `FLOWS` table are which device's.

use std::{collections::HashMap, ops::Range};

use flowguard_common::{gateway::GATEWAY_SLOTS, source::ROLE_GATEWAY};

/// Parts that a device with this role has.
fn width(role: u32) -> u32 {
    if role == ROLE_GATEWAY {
        GATEWAY_SLOTS
    } else {
        1
    }
}

/// The parts that are given out, by interface index.
#[derive(Debug, Default)]
pub(super) struct Slots {
    capacity: u32,
    given: HashMap<u32, Given>,
}

/// What a device has.
#[derive(Clone, Debug)]
struct Given {
    role: u32,
    slots: Range<u32>,
}

impl Slots {
    /// Of a table with so many parts.
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            capacity,
            given: HashMap::new(),
        }
    }

    /// Takes over what a map says of a device.
    pub(super) fn adopt(&mut self, ifindex: u32, slot: u32, role: u32) {
        let end = slot.saturating_add(width(role));
        let slots = slot..end;
        self.given.insert(ifindex, Given { role, slots });
    }

    /// The first part of a device: what it has, else the lowest place with room. None: there is no
    /// room.
    pub(super) fn give(&mut self, ifindex: u32, role: u32) -> Option<u32> {
        let width = width(role);
        if let Some(given) = self.given.get(&ifindex)
            && given.role == role
        {
            return Some(given.slots.start);
        }
        let mut taken: Vec<_> = self
            .given
            .iter()
            .filter(|(of, _)| **of != ifindex)
            .map(|(_, given)| given.slots.clone())
            .collect();
        taken.sort_unstable_by_key(|slots| slots.start);
        let mut slot = 0;
        for slots in taken {
            if slots.start >= slot + width {
                break;
            }
            slot = slot.max(slots.end);
        }
        if slot.checked_add(width)? > self.capacity {
            return None;
        }
        self.adopt(ifindex, slot, role);
        Some(slot)
    }

    /// How many are given out.
    pub(super) fn used(&self) -> u32 {
        self.given
            .values()
            .map(|given| given.slots.len() as u32)
            .sum()
    }

    /// Takes a device's parts back; whether it had any.
    pub(super) fn take(&mut self, ifindex: u32) -> bool {
        self.given.remove(&ifindex).is_some()
    }

    /// Interface indices with the first of their parts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u32)> {
        self.given
            .iter()
            .map(|(ifindex, given)| (*ifindex, given.slots.start))
    }

    /// The role in which a device has some.
    pub(super) fn role(&self, ifindex: u32) -> Option<u32> {
        self.given.get(&ifindex).map(|given| given.role)
    }
}

#[cfg(test)]
mod tests {
    use flowguard_common::source::ROLE_EDGE;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_gateway_takes_a_run_and_an_edge_the_lowest() {
        let mut slots = Slots::new(2 + GATEWAY_SLOTS);
        assert_eq!(slots.give(7, ROLE_EDGE), Some(0));
        assert_eq!(slots.give(8, ROLE_GATEWAY), Some(1));
        assert_eq!(slots.give(9, ROLE_EDGE), Some(1 + GATEWAY_SLOTS));
        assert_eq!(slots.give(10, ROLE_EDGE), None);
        assert_eq!(slots.give(8, ROLE_GATEWAY), Some(1));
        assert!(slots.take(8));
        assert_eq!(slots.give(10, ROLE_EDGE), Some(1));
        assert_eq!(slots.give(8, ROLE_GATEWAY), None);
    }

    proptest! {
        #[test]
        fn no_part_is_two_devices(
            steps in proptest::collection::vec((0_u32..12, 0_u32..4), 1..80),
        ) {
            let mut slots = Slots::new(200);
            for (ifindex, step) in steps {
                match step {
                    0 => drop(slots.take(ifindex)),
                    1 => drop(slots.give(ifindex, ROLE_GATEWAY)),
                    _ => drop(slots.give(ifindex, ROLE_EDGE)),
                }
                let given = slots.given.values();
                let mut taken: Vec<_> = given.map(|given| given.slots.clone()).collect();
                taken.sort_unstable_by_key(|slots| slots.start);
                prop_assert!(taken.windows(2).all(|pair| pair[0].end <= pair[1].start));
                prop_assert!(taken.iter().all(|slots| slots.end <= 200));
            }
        }
    }
}
