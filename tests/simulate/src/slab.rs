//! Steps that wait for their time.

use crate::{mail::Step, world::Server};

/// What is to come of connections, with the servers that they lead to, by number.
#[derive(Default)]
pub(crate) struct Slab {
    steps: Vec<(Step, Server)>,
    free: Vec<u32>,
}

impl Slab {
    /// Keeps one; its number.
    pub(crate) fn keep(&mut self, step: (Step, Server)) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.steps[slot as usize] = step;
            return slot;
        }
        self.steps.push(step);
        (self.steps.len() - 1) as u32
    }

    /// Gives one back, whose number is free then.
    pub(crate) fn take(&mut self, slot: u32) -> (Step, Server) {
        self.free.push(slot);
        self.steps[slot as usize]
    }
}
