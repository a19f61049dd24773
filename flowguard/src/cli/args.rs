//! Options that several commands share, and how their values are checked.

use std::{path::PathBuf, time::Duration};

use crate::{
    control::api::MAX_ORDER_SECONDS,
    model::{SourceRef, SourceRefError},
};

/// Options of every command.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Globals {
    /// Configuration file [default: /etc/flowguard/flowguard.toml if there is one, else the
    /// built-in defaults]
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        help_heading = "Global options"
    )]
    pub(super) config: Option<PathBuf>,
    /// Control socket of the daemon, instead of the configured one
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        help_heading = "Global options"
    )]
    pub(super) socket: Option<PathBuf>,
}

/// `--json`, of commands that read.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Json {
    /// Print JSON with stable field names
    #[arg(long)]
    pub(super) json: bool,
}

/// Checks a source, and keeps it as it was typed.
pub(super) fn source(text: &str) -> Result<String, SourceRefError> {
    text.parse().map(|_: SourceRef| text.to_owned())
}

/// Why a text is no duration.
#[derive(Debug, thiserror::Error)]
pub(super) enum DurationError {
    #[error("{0}; write 30s, 10m, 1h or 7d")]
    Unreadable(#[from] crate::model::ParseDurationError),
    #[error("it must be whole seconds, at least one; leave it out for `until lifted`")]
    NotWholeSeconds,
    #[error("it is longer than ten years; leave it out for `until lifted`")]
    TooLong,
}

/// `30s`, `10m`, `1h`, `7d`: what an order's time may be.
pub(super) fn duration(text: &str) -> Result<Duration, DurationError> {
    let duration = crate::model::parse_duration(text)?;
    if duration.is_zero() || duration.subsec_nanos() != 0 {
        return Err(DurationError::NotWholeSeconds);
    }
    if duration.as_secs() > MAX_ORDER_SECONDS {
        return Err(DurationError::TooLong);
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_what_the_contract_says() {
        for (text, seconds) in [
            ("30s", 30),
            ("10m", 600),
            ("1h", 3_600),
            ("7d", 604_800),
            ("1h 30m", 5_400),
            ("3650d", MAX_ORDER_SECONDS),
        ] {
            assert_eq!(duration(text).unwrap().as_secs(), seconds, "{text}");
        }
        for bad in [
            "",
            "0",
            "0s",
            "30",
            "-1s",
            "1500ms",
            "3651d",
            "h",
            "1 fortnight",
            "99999999999999999999s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_durations_panic(text in "[0-9]{0,25}[a-z ]{0,6}[0-9]{0,25}[a-z]{0,3}|\\PC*") {
            if let Ok(duration) = duration(&text) {
                prop_assert!((1..=MAX_ORDER_SECONDS).contains(&duration.as_secs()));
            }
        }
    }
}
