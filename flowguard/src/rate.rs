//! Rates as people write them, and which of them the kernel can keep.

use std::{str::FromStr, time::Duration};

use flowguard_common::verdict::Rate;

use crate::model::{ParseDurationError, parse_duration};

/// Most connections that a rate can speak of, at once or within its time.
pub const MAX_CONNECTIONS: u64 = 1_000_000_000;

/// Longest time that a rate may take to allow its burst again. Far from where the kernel's
/// 64-bit nanoseconds end, and of no use to anybody beyond.
pub const MAX_REFILL: Duration = Duration::from_hours(24 * 366);

/// Why there is no such rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// The interval rounds to nothing.
    #[error("it is more than one attempt a nanosecond: ask for fewer, or for a longer time")]
    TooFast,
    /// The bucket would never be full again.
    #[error("the burst takes more than a year to be allowed again: lower it, or raise the rate")]
    TooSlow,
    /// Nothing at once, or more than there can be.
    #[error("the burst is out of range: write 1 to {MAX_CONNECTIONS}")]
    Burst,
}

/// `burst` connections at once, and `count` every `per` in the long run.
///
/// # Errors
///
/// The kernel could not keep it.
pub fn rate(burst: u64, count: u64, per: Duration) -> Result<Rate, RateError> {
    let per_ns = u64::try_from(per.as_nanos()).map_err(|_| RateError::TooSlow)?;
    let interval_ns = per_ns.checked_div(count).ok_or(RateError::TooSlow)?;
    checked(Rate { interval_ns, burst })
}

/// A rate that came from somebody else.
///
/// # Errors
///
/// The kernel could not keep it.
pub fn checked(rate: Rate) -> Result<Rate, RateError> {
    let Rate { interval_ns, burst } = rate;
    if !(1..=MAX_CONNECTIONS).contains(&burst) {
        return Err(RateError::Burst);
    }
    if interval_ns == 0 {
        return Err(RateError::TooFast);
    }
    match interval_ns.checked_mul(burst).map(Duration::from_nanos) {
        Some(refill) if refill <= MAX_REFILL => Ok(rate),
        _ => Err(RateError::TooSlow),
    }
}

/// So many connections in so long: `10/1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerTime {
    /// Connections.
    pub count: u64,
    /// In this time.
    pub per: Duration,
}

/// Why a text is no [`PerTime`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PerTimeError {
    /// It is not written as one.
    #[error("write a number and a time, such as 10/1h or 1/30s")]
    Shape,
    /// The number is none, or none that makes sense.
    #[error("the number is out of range: write 1 to {MAX_CONNECTIONS}")]
    Count,
    /// The time is none.
    #[error("{0}; write a number and a time, such as 10/1h or 1/30s")]
    Time(#[from] ParseDurationError),
}

impl FromStr for PerTime {
    type Err = PerTimeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (count, per) = text.split_once('/').ok_or(PerTimeError::Shape)?;
        let count = count
            .parse()
            .ok()
            .filter(|count| (1..=MAX_CONNECTIONS).contains(count))
            .ok_or(PerTimeError::Count)?;
        let per = parse_duration(per)?;
        if per.is_zero() {
            return Err(PerTimeError::Shape);
        }
        Ok(Self { count, per })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_are_read() {
        let read = |text: &str| text.parse::<PerTime>().ok();
        let hour = Duration::from_hours(1);
        assert_eq!(
            read("10/1h"),
            Some(PerTime {
                count: 10,
                per: hour
            })
        );
        for bad in ["10", "10/", "/1h", "0/1h", "-1/1h", "10/0s", "10/1M", "1/h"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_the_kernel_cannot_keep_is_refused() {
        let second = Duration::from_secs(1);
        assert_eq!(
            rate(5, 10, second),
            Ok(Rate {
                interval_ns: 100_000_000,
                burst: 5
            })
        );
        assert_eq!(rate(0, 1, second), Err(RateError::Burst));
        assert_eq!(rate(1, 2_000_000_000, second), Err(RateError::TooFast));
        assert_eq!(rate(1, 0, second), Err(RateError::TooSlow));
        assert_eq!(
            rate(400, 1, Duration::from_hours(24)),
            Err(RateError::TooSlow)
        );
        assert_eq!(rate(1, 1, Duration::MAX), Err(RateError::TooSlow));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9]{0,21}/?[0-9]{0,21}[a-z]{0,2}|\\PC*") {
            if let Ok(PerTime { count, per }) = text.parse()
                && let Ok(rate) = rate(count, count, per)
            {
                prop_assert!(rate.interval_ns.checked_mul(rate.burst).is_some());
            }
        }
    }
}
