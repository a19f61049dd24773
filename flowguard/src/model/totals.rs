//! What was counted.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What was counted of a source in one class since the guard was first attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Connections tried.
    pub attempts: u64,
    /// Attempts refused.
    pub denied: u64,
    /// Attempts that enforce mode would have refused.
    pub would_deny: u64,
    /// First contacts with a destination within an hour.
    pub destinations: u64,
    /// SYNs seen again, where packets are seen.
    pub retransmits: u64,
    /// Attempts that the other side accepted, where its answers are seen.
    #[serde(default)]
    pub established: u64,
    /// Attempts that the other side refused with a reset.
    #[serde(default)]
    pub refused: u64,
    /// Attempts that nobody had answered when they were given up.
    #[serde(default)]
    pub timed_out: u64,
    /// Attempts sent to the smarthost instead.
    #[serde(default)]
    pub redirected: u64,
    /// Bytes of payload sent, those sent again included.
    #[serde(default)]
    pub bytes: u64,
    /// Replies of mail servers, as far as they could be read.
    #[serde(default)]
    pub replies: Replies,
    /// Messages that mail servers were ready to take (reply 354).
    #[serde(default)]
    pub messages: u64,
    /// Connections that turned to TLS, of whose replies nothing more could be read.
    #[serde(default)]
    pub encrypted: u64,
    /// Connections that went on without TLS: a message was asked for, or something refused, in the
    /// clear.
    #[serde(default)]
    pub plain: u64,
    /// How long connections that ended were open, together, in milliseconds.
    #[serde(default)]
    pub open_ms: u64,
}

/// Replies of mail servers by their first digit (RFC 5321, section 4.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replies {
    /// 2xx: done.
    #[serde(rename = "2xx")]
    pub ok: u64,
    /// 3xx: go on.
    #[serde(rename = "3xx")]
    pub more: u64,
    /// 4xx: not now.
    #[serde(rename = "4xx")]
    pub later: u64,
    /// 5xx: no.
    #[serde(rename = "5xx")]
    pub never: u64,
}

impl Totals {
    /// How many counters there are.
    pub const COUNT: usize = 18;

    /// Where each counter is, in the order in which they are stored.
    const fn places(&mut self) -> [&mut u64; Self::COUNT] {
        [
            &mut self.attempts,
            &mut self.denied,
            &mut self.would_deny,
            &mut self.destinations,
            &mut self.retransmits,
            &mut self.established,
            &mut self.refused,
            &mut self.timed_out,
            &mut self.redirected,
            &mut self.bytes,
            &mut self.replies.ok,
            &mut self.replies.more,
            &mut self.replies.later,
            &mut self.replies.never,
            &mut self.messages,
            &mut self.encrypted,
            &mut self.open_ms,
            &mut self.plain,
        ]
    }

    /// The counters in the order in which they are stored.
    pub fn to_array(mut self) -> [u64; Self::COUNT] {
        self.places().map(|place| *place)
    }

    /// Of counters in that order.
    pub fn from_array(counters: [u64; Self::COUNT]) -> Self {
        let mut totals = Self::default();
        for (place, counter) in totals.places().into_iter().zip(counters) {
            *place = counter;
        }
        totals
    }
}

/// Each as far as it goes: what comes from a socket may be anything.
impl AddAssign for Totals {
    fn add_assign(&mut self, more: Self) {
        for (place, more) in self.places().into_iter().zip(more.to_array()) {
            *place = place.saturating_add(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::array;

    use super::*;

    #[test]
    fn every_counter_has_its_place() {
        let counters = array::from_fn(|index| index as u64);
        let mut totals = Totals::from_array(counters);
        assert_eq!(totals.to_array(), counters);
        assert_eq!((totals.attempts, totals.replies.never), (0, 13));
        assert_eq!((totals.open_ms, totals.plain), (16, 17));
        totals += Totals {
            open_ms: u64::MAX,
            ..totals
        };
        assert_eq!((totals.denied, totals.open_ms), (2, u64::MAX));
    }
}
