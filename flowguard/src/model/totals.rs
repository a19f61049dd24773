//! What was counted.

use std::{array, ops::AddAssign};

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
    pub const COUNT: usize = 17;

    /// The counters in the order in which they are stored.
    pub const fn to_array(self) -> [u64; Self::COUNT] {
        [
            self.attempts,
            self.denied,
            self.would_deny,
            self.destinations,
            self.retransmits,
            self.established,
            self.refused,
            self.timed_out,
            self.redirected,
            self.bytes,
            self.replies.ok,
            self.replies.more,
            self.replies.later,
            self.replies.never,
            self.messages,
            self.encrypted,
            self.open_ms,
        ]
    }

    /// Of counters in that order.
    pub const fn from_array(counters: [u64; Self::COUNT]) -> Self {
        let [
            attempts,
            denied,
            would_deny,
            destinations,
            retransmits,
            established,
            refused,
            timed_out,
            redirected,
            bytes,
            ok,
            more,
            later,
            never,
            messages,
            encrypted,
            open_ms,
        ] = counters;
        Self {
            attempts,
            denied,
            would_deny,
            destinations,
            retransmits,
            established,
            refused,
            timed_out,
            redirected,
            bytes,
            replies: Replies {
                ok,
                more,
                later,
                never,
            },
            messages,
            encrypted,
            open_ms,
        }
    }
}

/// Each as far as it goes: what comes from a socket may be anything.
impl AddAssign for Totals {
    fn add_assign(&mut self, more: Self) {
        let (now, more) = (self.to_array(), more.to_array());
        *self = Self::from_array(array::from_fn(|index| {
            now[index].saturating_add(more[index])
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_place() {
        let counters = array::from_fn(|index| index as u64);
        let mut totals = Totals::from_array(counters);
        assert_eq!(totals.to_array(), counters);
        assert_eq!((totals.attempts, totals.replies.never), (0, 13));
        totals += Totals {
            open_ms: u64::MAX,
            ..totals
        };
        assert_eq!((totals.denied, totals.open_ms), (2, u64::MAX));
    }
}
