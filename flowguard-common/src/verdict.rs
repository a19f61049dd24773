//! Verdicts and the only arithmetic the kernel decides by: is it still valid, is a rate exceeded.

use crate::settings::MODE_ENFORCE;

/// Let everything pass, ceilings included.
pub const ACTION_ALLOW: u32 = 0;
/// Deny what exceeds [`Verdict::rate`].
pub const ACTION_LIMIT: u32 = 1;
/// Deny every new connection.
pub const ACTION_BLOCK: u32 = 2;
/// Deny connections to new destinations that exceed [`Verdict::rate`]; known ones pass (see
/// [`crate::fanout`]).
pub const ACTION_NEW_DESTINATIONS: u32 = 3;
/// Send new connections to the smarthost; where that cannot be, deny them.
pub const ACTION_REDIRECT: u32 = 4;
/// Deny every new connection, and drop the packets of those that are open.
pub const ACTION_SEVER: u32 = 5;

/// Ordered by an operator: carried out in observe mode as well.
pub const VERDICT_BY_HAND: u32 = 1;

/// An `allow` that a rule of the configuration gave: lasts as long as the rule.
pub const VERDICT_EXEMPT: u32 = 2;

/// Key of the `VERDICTS` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct VerdictKey {
    /// Source id.
    pub source: u32,
    /// [`crate::class::Class`].
    pub class: u32,
}

/// A rate that is kept by GCRA (ITU-T I.371, annex A.1): `burst` at once, then one per interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Rate {
    /// Nanoseconds between two conforming attempts in the long run; 0: no limit.
    pub interval_ns: u64,
    /// Attempts that conform at once after a long silence, at least 1. Times the interval it must
    /// fit into 64 bits: 128-bit products are beyond BPF.
    pub burst: u64,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self {
        interval_ns: 0,
        burst: 0,
    };

    /// Whether this limits anything.
    #[inline(always)]
    pub const fn is_limited(&self) -> bool {
        self.interval_ns != 0
    }

    /// One step of GCRA: the bucket's next value if an attempt at `now_ns` conforms. A bucket
    /// holds the theoretical arrival time of the next attempt, and 0 is full. One that lies further
    /// ahead than this rate can bring it was filled at a slower rate: it has one attempt left, so
    /// that a relieved source is let go at once.
    #[inline(always)]
    pub const fn conform(&self, bucket: u64, now_ns: u64) -> Option<u64> {
        let tolerance = self.interval_ns.wrapping_mul(self.burst.wrapping_sub(1));
        let furthest = now_ns
            .saturating_add(tolerance)
            .saturating_add(self.interval_ns);
        let arrival = if bucket > furthest {
            now_ns.saturating_add(tolerance)
        } else if bucket > now_ns {
            bucket
        } else {
            now_ns
        };
        if arrival - now_ns > tolerance {
            None
        } else {
            Some(arrival.wrapping_add(self.interval_ns))
        }
    }
}

/// What the kernel does with a source's new connections in a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Verdict {
    /// Whose it is, as in the key: the kernel reuses the memory of replaced entries at once, so a
    /// program may find another source's verdict in a value it has just looked up. First, so that
    /// it is the first to change.
    pub key: VerdictKey,
    /// `ACTION_*`; an unknown one lets pass.
    pub action: u32,
    /// `VERDICT_*` bits.
    pub flags: u32,
    /// `CLOCK_BOOTTIME` after which the verdict is void, nanoseconds; 0: never.
    pub expires_ns: u64,
    /// Limit of `ACTION_LIMIT` and `ACTION_NEW_DESTINATIONS`.
    pub rate: Rate,
    /// Number of the record that explains the verdict.
    pub record: u64,
}

const _: () = assert!(size_of::<Verdict>() == 48 && align_of::<Verdict>() == 8);

/// Rate buckets of a source in a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Buckets {
    /// Of the ceiling.
    pub ceiling: u64,
    /// Of the verdict's limit.
    pub limit: u64,
    /// Held while a bucket is charged, by programs for kernels without compare-and-exchange
    /// (before Linux 5.12).
    pub lock: bpf_spin_lock,
    /// Zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<Buckets>() == 24);

/// The kernel knows this type by its name (kernel/bpf/btf.c); it must stand on the top level of a map's
/// value, and programs reach it through helpers only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct bpf_spin_lock {
    /// Whether it is held.
    pub val: u32,
}

/// Buckets of the events that a source may raise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EventBuckets {
    /// Of [`crate::event::Event`].
    pub attempts: u64,
    /// Of [`crate::event::ReplyEvent`].
    pub replies: u64,
}

/// What happens to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Decision {
    /// It goes on.
    Pass = 0,
    /// It is refused.
    Deny = 1,
    /// It goes on, and would not have in enforce mode.
    WouldDeny = 2,
    /// It goes to the smarthost.
    Redirect = 3,
}

impl Decision {
    /// The decision of a number found in an event.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Pass),
            1 => Some(Self::Deny),
            2 => Some(Self::WouldDeny),
            3 => Some(Self::Redirect),
            _ => None,
        }
    }

    /// The decision of the number that a program's function returned.
    #[inline(always)]
    pub const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Deny,
            2 => Self::WouldDeny,
            3 => Self::Redirect,
            _ => Self::Pass,
        }
    }
}

/// What a verdict, if there is one, says of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Pass without looking at ceilings.
    Allow,
    /// Nothing against it, but the ceiling holds.
    Ceiling,
    /// Deny what exceeds the verdict's rate; by hand or not.
    Limit {
        /// See [`VERDICT_BY_HAND`].
        by_hand: bool,
    },
    /// Deny new destinations that exceed the verdict's rate; by hand or not.
    NewDestinations {
        /// See [`VERDICT_BY_HAND`].
        by_hand: bool,
    },
    /// Send to the smarthost; by hand or not.
    Redirect {
        /// See [`VERDICT_BY_HAND`].
        by_hand: bool,
    },
    /// Deny; by hand or not.
    Deny {
        /// See [`VERDICT_BY_HAND`].
        by_hand: bool,
    },
}

impl Verdict {
    /// Whether the verdict is void at this time.
    #[inline(always)]
    pub const fn is_expired(&self, now_ns: u64) -> bool {
        self.expires_ns != 0 && self.expires_ns <= now_ns
    }

    /// Whether this is the `allow` of an exempt source rather than somebody's decision.
    #[inline(always)]
    pub const fn is_exemption(&self) -> bool {
        self.flags & VERDICT_EXEMPT != 0
    }

    /// What the verdict says of an attempt at `now_ns`.
    #[inline(always)]
    pub const fn ruling(&self, now_ns: u64) -> Ruling {
        let by_hand = self.flags & VERDICT_BY_HAND != 0;
        if self.is_expired(now_ns) {
            return Ruling::Ceiling;
        }
        match self.action {
            ACTION_ALLOW => Ruling::Allow,
            ACTION_LIMIT => Ruling::Limit { by_hand },
            ACTION_BLOCK | ACTION_SEVER => Ruling::Deny { by_hand },
            ACTION_NEW_DESTINATIONS => Ruling::NewDestinations { by_hand },
            ACTION_REDIRECT => Ruling::Redirect { by_hand },
            _ => Ruling::Ceiling,
        }
    }
}

impl Verdict {
    /// Whether packets of open connections are dropped at `now_ns`.
    #[inline(always)]
    pub const fn severs(&self, mode: u32, now_ns: u64) -> bool {
        self.action == ACTION_SEVER
            && !self.is_expired(now_ns)
            && (mode == MODE_ENFORCE || self.flags & VERDICT_BY_HAND != 0)
    }
}

/// Carries out a refusal: observe mode turns it into a note, unless an operator ordered it.
#[inline(always)]
pub const fn refuse(mode: u32, by_hand: bool) -> Decision {
    if mode == MODE_ENFORCE || by_hand {
        Decision::Deny
    } else {
        Decision::WouldDeny
    }
}

/// Carries out a redirection, likewise.
#[inline(always)]
pub const fn redirect(mode: u32, by_hand: bool) -> Decision {
    match refuse(mode, by_hand) {
        Decision::Deny => Decision::Redirect,
        noted => noted,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::settings::MODE_OBSERVE;

    const SECOND: u64 = 1_000_000_000;

    fn verdict(action: u32, expires_ns: u64) -> Verdict {
        Verdict {
            action,
            flags: 0,
            expires_ns,
            rate: Rate::UNLIMITED,
            record: 0,
            key: VerdictKey {
                source: 0,
                class: 0,
            },
        }
    }

    #[test]
    fn a_verdict_ends_at_its_time() {
        assert_eq!(
            verdict(ACTION_BLOCK, 10).ruling(9),
            Ruling::Deny { by_hand: false }
        );
        assert_eq!(verdict(ACTION_BLOCK, 10).ruling(10), Ruling::Ceiling);
        assert_eq!(
            verdict(ACTION_BLOCK, 0).ruling(u64::MAX),
            Ruling::Deny { by_hand: false }
        );
        assert_eq!(verdict(99, 0).ruling(1), Ruling::Ceiling);
    }

    #[test]
    fn only_a_verdict_to_sever_severs() {
        let by_hand = Verdict {
            flags: VERDICT_BY_HAND,
            ..verdict(ACTION_SEVER, 10)
        };
        assert!(by_hand.severs(MODE_OBSERVE, 9));
        assert!(!by_hand.severs(MODE_OBSERVE, 10));
        assert!(!verdict(ACTION_SEVER, 10).severs(MODE_OBSERVE, 9));
        assert!(verdict(ACTION_SEVER, 10).severs(MODE_ENFORCE, 9));
        assert!(!verdict(ACTION_BLOCK, 10).severs(MODE_ENFORCE, 9));
        assert_eq!(
            verdict(ACTION_SEVER, 10).ruling(9),
            Ruling::Deny { by_hand: false }
        );
    }

    #[test]
    fn observe_mode_denies_by_hand_only() {
        assert_eq!(refuse(MODE_OBSERVE, false), Decision::WouldDeny);
        assert_eq!(refuse(MODE_OBSERVE, true), Decision::Deny);
        assert_eq!(refuse(MODE_ENFORCE, false), Decision::Deny);
    }

    proptest! {
        /// Whatever a bucket holds from another rate, the next pass is at most an interval away,
        /// and no more than a burst passes at once.
        #[test]
        fn a_changed_rate_is_in_force_at_once(
            interval in 1_u64..5 * SECOND,
            burst in 1_u64..200,
            bucket: u64,
            now in 0..u64::MAX / 4,
        ) {
            let rate = Rate { interval_ns: interval, burst };
            prop_assert!(
                rate.conform(bucket, now).is_some() || rate.conform(bucket, now + interval).is_some()
            );
            let mut passed = 0;
            let mut bucket = bucket;
            while let Some(next) = rate.conform(bucket, now) {
                bucket = next;
                passed += 1;
            }
            prop_assert!(passed <= burst);
        }

        /// GCRA against a plainly written token bucket: tokens grow by 1/interval up to burst.
        #[test]
        fn gcra_agrees_with_a_token_bucket(
            interval in 1_u64..5 * SECOND,
            burst in 1_u64..200,
            steps in proptest::collection::vec(0_u64..3 * SECOND, 1..400),
        ) {
            let rate = Rate { interval_ns: interval, burst };
            let full = u128::from(burst) * u128::from(interval);
            let (mut bucket, mut now, mut level, mut last) = (0, SECOND, full, SECOND);
            for step in steps {
                now += step;
                level = (level + u128::from(now - last)).min(full);
                last = now;
                let expected = level >= u128::from(interval);
                if expected {
                    level -= u128::from(interval);
                }
                let got = rate.conform(bucket, now);
                prop_assert_eq!(got.is_some(), expected);
                bucket = got.unwrap_or(bucket);
            }
        }
    }
}
