//! Packets that no kernel socket made, and what became of them: what the program
//! `fg-bypass-raw` is built from.
//!
//! It sends SYNs in every way that root of a container has, and listens for the answers. Before
//! and after them it sends a plain SYN to a port that nobody guards, from the same CPU and over
//! the same devices, where packets do not overtake each other: once that one is answered, all
//! others have arrived or been dropped. So nothing has to be waited for.

mod answers;
mod shape;
mod via;

pub use answers::{Answer, Answers};
pub use shape::{Extension, Flow, Inside, Part, Shape};
pub use via::{Sender, Via};

use serde::{Deserialize, Serialize};

/// What became of the SYNs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Different SYNs sent.
    pub sent: u64,
    /// Of these, how many were answered with SYN and ACK.
    pub answered: u64,
}
