//! What becomes of one connection: from the SYN to the last reply, as the kernel's programs see it.

use fastrand::Rng;
use flowguard::model::{Replies, Totals};

/// Milliseconds.
pub(crate) type Millis = u64;

/// An answer takes so long.
const ROUND_TRIP: Millis = 60;
/// A reply to MAIL, RCPT or DATA takes so long.
const REPLY: Millis = 400;
/// `kernel.unanswered_after` of the shipped configuration.
const UNANSWERED: Millis = 150_000;
/// Bytes of one message with its envelope.
const MESSAGE_BYTES: u64 = 20_000;

/// What the mail of a sender meets, in shares of all connections or of all messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality {
    /// Connections to addresses where nobody answers.
    pub(crate) silent: f64,
    /// Connections that are refused.
    pub(crate) refused: f64,
    /// Sessions that turn to TLS, after which no reply can be read.
    pub(crate) tls: f64,
    /// Recipients that are not there (5xx).
    pub(crate) unknown_user: f64,
    /// Messages put off for being the first of their kind (4xx).
    pub(crate) greylisted: f64,
    /// Messages refused for what they are, or for where they come from, in a provider's words.
    pub(crate) rejected: f64,
    /// Messages in one connection, at most.
    pub(crate) messages: u32,
}

/// What a provider says who has had enough, and what each is about.
pub(crate) const PROVIDER_WORDS: [&str; 5] = [
    "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen.spamhaus.org",
    "421 4.7.0 [TSS04] Messages from 192.0.2.7 temporarily deferred due to unexpected volume or user complaints",
    "550 5.7.1 Our system has detected that this message is likely unsolicited mail",
    "421-4.7.28 Our system has detected an unusual rate of unsolicited mail",
    "550 5.7.1 [192.0.2.7] is on our block list (S3140)",
];

const UNKNOWN_USER: &str = "550 5.1.1 The email account that you tried to reach does not exist";
const GREYLISTED: &str = "450 4.2.0 Greylisted, please come back later";

/// Something that is counted or heard a while after the attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// How long after the attempt.
    pub(crate) after: Millis,
    /// By how much counters grow; `Totals` as a difference.
    pub(crate) growth: Totals,
    /// A reply that says no.
    pub(crate) reply: Option<&'static str>,
}

/// How a connection ended for who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// What was to be delivered was, or will never be.
    Done,
    /// An honest sender comes again.
    PutOff,
}

/// Draws what becomes of a connection. At most as many steps as a session has replies.
pub(crate) fn connection(quality: &Quality, rng: &mut Rng) -> (Vec<Step>, End) {
    let draw = rng.f64();
    let counted = |after, growth| Step {
        after,
        growth,
        reply: None,
    };
    if draw < quality.silent {
        let growth = Totals {
            timed_out: 1,
            ..Totals::default()
        };
        return (vec![counted(UNANSWERED, growth)], End::PutOff);
    }
    if draw < quality.silent + quality.refused {
        let growth = Totals {
            refused: 1,
            ..Totals::default()
        };
        return (vec![counted(ROUND_TRIP, growth)], End::PutOff);
    }
    session(quality, rng)
}

fn session(quality: &Quality, rng: &mut Rng) -> (Vec<Step>, End) {
    let established = Totals {
        established: 1,
        ..Totals::default()
    };
    let mut steps = vec![Step {
        after: ROUND_TRIP,
        growth: established,
        reply: None,
    }];
    let encrypted = rng.f64() < quality.tls;
    let messages = 1 + rng.u32(0..quality.messages);
    let mut now = ROUND_TRIP + 3 * REPLY;
    let mut end = End::Done;
    if encrypted {
        // The banner, the answer to EHLO, and that to STARTTLS: the last that can be read.
        let growth = Totals {
            encrypted: 1,
            replies: Replies {
                ok: 3,
                ..Replies::default()
            },
            ..Totals::default()
        };
        steps.push(Step {
            after: now,
            growth,
            reply: None,
        });
    }
    let mut read = Replies::default();
    for message in 0..messages {
        now += 2 * REPLY;
        let no = refusal(quality, rng);
        if no == Some(GREYLISTED) {
            end = End::PutOff;
        }
        if encrypted {
            continue;
        }
        read.ok += 3;
        if no.is_none() {
            read.ok += 2;
            read.more += 1;
        }
        if no.is_some() || message == 0 {
            let begins = |digit| u64::from(no.is_some_and(|text| text.starts_with(digit)));
            let growth = Totals {
                replies: Replies {
                    later: begins('4'),
                    never: begins('5'),
                    ..Replies::default()
                },
                // What came of the first message tells it.
                plain: u64::from(message == 0),
                ..Totals::default()
            };
            steps.push(Step {
                after: now,
                growth,
                reply: no,
            });
        }
    }
    let growth = Totals {
        messages: read.more,
        replies: read,
        bytes: MESSAGE_BYTES * u64::from(messages),
        open_ms: now,
        ..Totals::default()
    };
    steps.push(Step {
        after: now,
        growth,
        reply: None,
    });
    (steps, end)
}

/// The reply to a message that is not taken.
fn refusal(quality: &Quality, rng: &mut Rng) -> Option<&'static str> {
    let draw = rng.f64();
    if draw < quality.unknown_user {
        Some(UNKNOWN_USER)
    } else if draw < quality.unknown_user + quality.rejected {
        Some(PROVIDER_WORDS[rng.usize(0..PROVIDER_WORDS.len())])
    } else if draw < quality.unknown_user + quality.rejected + quality.greylisted {
        Some(GREYLISTED)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_has_one_outcome_and_is_plain_or_encrypted() {
        let quality = Quality {
            silent: 0.2,
            refused: 0.2,
            tls: 0.5,
            unknown_user: 0.1,
            greylisted: 0.1,
            rejected: 0.1,
            messages: 3,
        };
        let mut rng = Rng::with_seed(1);
        let (mut outcomes, mut sessions, mut said) = (0, 0, 0);
        let (mut plain, mut encrypted) = (0, 0);
        for _ in 0..10_000 {
            for step in connection(&quality, &mut rng).0 {
                let grown = step.growth;
                outcomes += grown.refused + grown.timed_out + grown.established;
                sessions += grown.established;
                plain += grown.plain;
                encrypted += grown.encrypted;
                said += grown.messages + grown.replies.later + grown.replies.never;
            }
        }
        assert_eq!(outcomes, 10_000);
        assert_eq!(sessions, plain + encrypted);
        assert!(said > plain, "{said} in {plain}");
        assert!((5_800..6_200).contains(&sessions), "{sessions}");
    }
}
