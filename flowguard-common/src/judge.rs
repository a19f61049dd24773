//! What happens to an attempt: what its verdict says, then the ceiling. Pure, so that the host can
//! test it; the programs lend it their maps.

#[cfg(test)]
mod tests;

use crate::verdict::{ACTION_NEW_DESTINATIONS, Decision, Rate, Ruling, Verdict, redirect, refuse};

/// Which of its buckets an attempt is to be charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bucket {
    /// Of the verdict's rate.
    Limit,
    /// Of the ceiling.
    Ceiling,
}

/// Judges a new attempt of a source whose verdict, if there is one, is `verdict`. `is_known` says
/// whether the source knows the destination, and `charge` takes one out of a bucket if it conforms
/// to the rate; either is asked only where it matters.
#[inline(always)]
pub fn attempt(
    verdict: Option<&Verdict>,
    mode: u32,
    now_ns: u64,
    ceiling: &Rate,
    is_known: impl FnOnce() -> bool,
    charge: impl Fn(Bucket, &Rate) -> bool,
) -> Decision {
    let (ruling, rate) = match verdict {
        Some(verdict) => (verdict.ruling(now_ns), verdict.rate),
        None => (Ruling::Ceiling, Rate::UNLIMITED),
    };
    let limited = match ruling {
        Ruling::Allow => return Decision::Pass,
        Ruling::Deny { by_hand } => return refuse(mode, by_hand),
        Ruling::Redirect { by_hand } => return redirect(mode, by_hand),
        Ruling::Ceiling => None,
        Ruling::Limit { by_hand } => Some(by_hand),
        Ruling::NewDestinations { by_hand } => (!is_known()).then_some(by_hand),
    };
    if let Some(by_hand) = limited
        && !charge(Bucket::Limit, &rate)
    {
        return refuse(mode, by_hand);
    }
    if !ceiling.is_limited() || charge(Bucket::Ceiling, ceiling) {
        Decision::Pass
    } else {
        refuse(mode, false)
    }
}

/// Judges again what was judged before, or what somebody else answers for; nothing is charged. A
/// block that came since holds, and one that ended lets go; what a limit `denied` stays so. There
/// is no sending elsewhere what is under way: it is refused.
#[inline(always)]
pub const fn again(
    verdict: Option<&Verdict>,
    mode: u32,
    now_ns: u64,
    ceiling: &Rate,
    denied: bool,
) -> Decision {
    let ruling = match verdict {
        Some(verdict) => verdict.ruling(now_ns),
        None => Ruling::Ceiling,
    };
    match ruling {
        Ruling::Deny { by_hand } | Ruling::Redirect { by_hand } => refuse(mode, by_hand),
        Ruling::Limit { by_hand } | Ruling::NewDestinations { by_hand } if denied => {
            refuse(mode, by_hand)
        }
        Ruling::Ceiling if denied && ceiling.is_limited() => refuse(mode, false),
        _ => Decision::Pass,
    }
}

/// Whether an attempt makes its destination known. What is refused for being new stays new, or it
/// would pass the second time.
#[inline(always)]
pub const fn makes_known(verdict: Option<&Verdict>, now_ns: u64, decision: Decision) -> bool {
    match verdict {
        Some(verdict) => {
            verdict.action != ACTION_NEW_DESTINATIONS
                || verdict.is_expired(now_ns)
                || !matches!(decision, Decision::Deny)
        }
        None => true,
    }
}
