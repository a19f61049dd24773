//! Single fields of a line, checked.

use std::net::IpAddr;

use super::End;

/// Seconds since 1970 with fractions, to milliseconds. Times that no clock of a mail server shows are
/// refused.
pub(super) fn time(text: &str) -> Result<i64, String> {
    let seconds: f64 = text
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is no time: seconds since 1970 are wanted"))?;
    // From 1970 to 2200.
    if !(0.0..7_258_118_400.0).contains(&seconds) {
        return Err(format!("`{text}` is no time between 1970 and 2200"));
    }
    Ok((seconds * 1_000.0) as i64)
}

/// Seconds with fractions, to milliseconds.
pub(super) fn duration(text: &str) -> Result<i64, String> {
    let seconds: f64 = text
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is no duration: seconds are wanted"))?;
    // No connection is open for more than a century.
    if !(0.0..3_155_760_000.0).contains(&seconds) {
        return Err(format!("`{text}` is no duration"));
    }
    Ok((seconds * 1_000.0) as i64)
}

pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is no address"))?;
    Ok(address.to_canonical())
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("`{text}` is no port"))
}

pub(super) fn bytes(text: &str) -> Result<u64, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("`{text}` is no number of bytes"))
}

/// What Zeek says of how a connection went (`conn_state`, in the documentation of its
/// `Conn::Info`); none: its beginning was not seen, so it is no attempt.
pub(super) fn zeek_state(text: &str) -> Result<Option<End>, String> {
    Ok(Some(match text {
        // Answered, whatever came then.
        "S1" | "SF" | "S2" | "S3" | "RSTO" | "RSTR" => End::Established,
        "REJ" => End::Refused,
        // A SYN, and then the source gave up (RSTOS0, SH) or the log ended.
        "S0" | "RSTOS0" | "SH" => End::Unanswered,
        // No SYN of the source was seen.
        "OTH" | "RSTRH" | "SHR" => return Ok(None),
        _ => return Err(format!("`{text}` is no conn_state")),
    }))
}
