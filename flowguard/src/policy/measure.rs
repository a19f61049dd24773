//! What rules measure: the counters of a source, sums of them, and ratios.

use std::{fmt, str::FromStr};

use flowguard_common::source::Kind as SourceKind;

use crate::model::Totals;

/// A number that grows with what a source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Counter {
    /// Connections tried.
    Attempts,
    /// First contacts with a destination (see [`flowguard_common::fanout`]).
    Destinations,
    /// Attempts that the other side accepted.
    Established,
    /// Attempts that the other side refused with a reset.
    Refused,
    /// Attempts that nobody had answered when they were given up.
    TimedOut,
    /// SYNs seen again.
    Retransmits,
    /// Attempts refused by a verdict or a ceiling.
    Denied,
    /// Attempts that enforce mode would have refused.
    WouldDeny,
    /// Attempts sent to the smarthost instead.
    Redirected,
    /// Payload sent, KiB.
    Kibibytes,
    /// Replies 2xx.
    Ok,
    /// Replies 3xx.
    More,
    /// Replies 4xx.
    Later,
    /// Replies 5xx.
    Never,
    /// Messages that servers were ready to take (reply 354).
    Messages,
    /// Connections that turned to TLS.
    Encrypted,
    /// Connections that went on without TLS.
    Plain,
    /// Seconds that connections which ended were open, together.
    OpenSeconds,
    /// Replies that say the sender is on a blacklist; each server counts once an hour.
    Listed,
    /// Replies that say it sends too much; each server counts once an hour.
    TooFast,
    /// Replies that say its reputation is bad; each server counts once an hour.
    Reputation,
    /// Replies that call the message spam; each server counts once an hour.
    Content,
    /// Replies that only ask to come back later.
    Greylisted,
    /// Replies that say there is no such mailbox.
    UnknownUser,
}

impl Counter {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 24] = [
        Self::Attempts,
        Self::Destinations,
        Self::Established,
        Self::Refused,
        Self::TimedOut,
        Self::Retransmits,
        Self::Denied,
        Self::WouldDeny,
        Self::Redirected,
        Self::Kibibytes,
        Self::Ok,
        Self::More,
        Self::Later,
        Self::Never,
        Self::Messages,
        Self::Encrypted,
        Self::Plain,
        Self::OpenSeconds,
        Self::Listed,
        Self::TooFast,
        Self::Reputation,
        Self::Content,
        Self::Greylisted,
        Self::UnknownUser,
    ];

    /// How many of them are counted; what comes behind is heard.
    const COUNTED: usize = Self::Listed as usize;
}

/// The counted ones of [`Counter`], in the order of their numbers.
pub(super) type Values = [u64; Counter::COUNTED];

/// Their values in cumulative counters.
pub(super) const fn values(totals: &Totals) -> Values {
    [
        totals.attempts,
        totals.destinations,
        totals.established,
        totals.refused,
        totals.timed_out,
        totals.retransmits,
        totals.denied,
        totals.would_deny,
        totals.redirected,
        totals.bytes >> 10,
        totals.replies.ok,
        totals.replies.more,
        totals.replies.later,
        totals.replies.never,
        totals.messages,
        totals.encrypted,
        totals.plain,
        totals.open_ms / 1000,
    ]
}

/// Which counters of a source are known: evidence that nobody could collect is missing, not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields(u32);

impl Fields {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self((1 << Counter::ALL.len()) - 1);
    /// What flow records without replies tell: connections and how they ended.
    pub const CONNECTIONS: Self = Self::NONE
        .with(Counter::Attempts)
        .with(Counter::Destinations)
        .with(Counter::Established)
        .with(Counter::Refused)
        .with(Counter::TimedOut);

    /// Those that the hooks can know of a source.
    pub fn of_kind(kind: SourceKind) -> Self {
        match kind {
            SourceKind::Container | SourceKind::Iface => Self::ALL,
            // SYNs that are sent again are seen at edges only.
            SourceKind::User => Self::ALL.without(Counter::Retransmits),
            // A gateway sees one direction.
            SourceKind::Addr => [
                Counter::Attempts,
                Counter::Destinations,
                Counter::Denied,
                Counter::WouldDeny,
                Counter::Retransmits,
            ]
            .into_iter()
            .fold(Self::NONE, Self::with),
        }
    }

    /// This one as well.
    #[must_use]
    pub const fn with(self, counter: Counter) -> Self {
        Self(self.0 | 1 << counter as u8)
    }

    /// Not this one.
    #[must_use]
    pub const fn without(self, counter: Counter) -> Self {
        Self(self.0 & !(1 << counter as u8))
    }

    /// Whether this one is known.
    pub const fn has(self, counter: Counter) -> bool {
        self.0 & (1 << counter as u8) != 0
    }

    /// Whether all of these are known.
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Those of a list.
    pub(super) fn of(counters: &[Counter]) -> Self {
        counters
            .iter()
            .fold(Self::NONE, |fields, counter| fields.with(*counter))
    }

    /// Those that one or the other has.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How a measure is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The sum of counters.
    Count(&'static [Counter]),
    /// The sum of some counters, of that of others.
    Ratio(&'static [Counter], &'static [Counter]),
    /// The sequential test's likelihood that the source is bad.
    Likelihood,
}

#[derive(Debug)]
struct Spec {
    name: &'static str,
    kind: Kind,
    /// What it counts, or is a share of, in words.
    words: &'static str,
}

/// Something a condition can ask for: `what = "…"` in a rule.
#[derive(Clone, Copy)]
pub struct Measure(&'static Spec);

const fn count(name: &'static str, counters: &'static [Counter], words: &'static str) -> Spec {
    Spec {
        name,
        kind: Kind::Count(counters),
        words,
    }
}

const fn ratio(
    name: &'static str,
    part: &'static [Counter],
    whole: &'static [Counter],
    words: &'static str,
) -> Spec {
    Spec {
        name,
        kind: Kind::Ratio(part, whole),
        words,
    }
}

use Counter as C;

/// Every measure. `docs/policy.md` tells what each means and where it is blind.
static SPECS: [Spec; 37] = [
    count("attempts", &[C::Attempts], "attempts"),
    count("destinations", &[C::Destinations], "first contacts"),
    count("established", &[C::Established], "connections accepted"),
    count(
        "refused",
        &[C::Refused],
        "attempts refused by the other side",
    ),
    count("timed-out", &[C::TimedOut], "attempts nobody answered"),
    count("failed", &[C::Refused, C::TimedOut], "attempts that failed"),
    count("retransmits", &[C::Retransmits], "SYNs sent again"),
    count("denied", &[C::Denied], "attempts denied by flowguard"),
    count(
        "would-deny",
        &[C::WouldDeny],
        "attempts flowguard would have denied",
    ),
    count(
        "redirected",
        &[C::Redirected],
        "attempts sent to the smarthost",
    ),
    count("kibibytes", &[C::Kibibytes], "KiB sent"),
    count("2xx", &[C::Ok], "replies 2xx"),
    count("3xx", &[C::More], "replies 3xx"),
    count("4xx", &[C::Later], "replies 4xx"),
    count("5xx", &[C::Never], "replies 5xx"),
    count("rejected", &[C::Later, C::Never], "replies that say no"),
    count(
        "messages",
        &[C::Messages],
        "messages servers were ready to take",
    ),
    count("encrypted", &[C::Encrypted], "connections with TLS"),
    count("plain", &[C::Plain], "connections without TLS"),
    count(
        "open-seconds",
        &[C::OpenSeconds],
        "seconds of open connections",
    ),
    count(
        "provider-words",
        &[C::Listed, C::TooFast, C::Reputation, C::Content],
        "servers that call the sender a spammer",
    ),
    count(
        "provider-listed",
        &[C::Listed],
        "servers that name a blacklist",
    ),
    count(
        "provider-rate",
        &[C::TooFast],
        "servers that call the rate unusual",
    ),
    count(
        "provider-reputation",
        &[C::Reputation],
        "servers that call the reputation bad",
    ),
    count(
        "provider-content",
        &[C::Content],
        "servers that call the message spam",
    ),
    count(
        "greylisted",
        &[C::Greylisted],
        "replies that ask to come back later",
    ),
    count(
        "unknown-user",
        &[C::UnknownUser],
        "replies that know no such mailbox",
    ),
    ratio(
        "failed-ratio",
        &[C::Refused, C::TimedOut],
        &[C::Refused, C::TimedOut, C::Established],
        "attempts with an outcome failed",
    ),
    ratio(
        "established-ratio",
        &[C::Established],
        &[C::Attempts],
        "attempts were accepted",
    ),
    ratio(
        "rejected-ratio",
        &[C::Later, C::Never],
        &[C::Later, C::Never, C::Messages],
        "answers that decide said no",
    ),
    ratio(
        "encrypted-ratio",
        &[C::Encrypted],
        &[C::Established],
        "connections turned to TLS",
    ),
    // Both parts are counted when they are decided, so that sessions under way do not look plain.
    ratio(
        "tls-ratio",
        &[C::Encrypted],
        &[C::Encrypted, C::Plain],
        "sessions that got that far turned to TLS",
    ),
    ratio(
        "5xx-ratio",
        &[C::Never],
        &[C::Never, C::Messages],
        "messages were refused for good",
    ),
    ratio(
        "retries",
        &[C::Attempts],
        &[C::Destinations],
        "attempts a first contact",
    ),
    ratio(
        "messages-per-connection",
        &[C::Messages],
        &[C::Established],
        "messages a connection",
    ),
    ratio(
        "kibibytes-per-connection",
        &[C::Kibibytes],
        &[C::Established],
        "KiB a connection",
    ),
    Spec {
        name: "likelihood",
        kind: Kind::Likelihood,
        words: "the likelihood that the source is bad",
    },
];

impl Measure {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        SPECS.iter().map(Measure)
    }

    /// Its name in configuration and records.
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// What it counts, in words.
    pub const fn words(self) -> &'static str {
        self.0.words
    }

    pub(super) const fn kind(self) -> Kind {
        self.0.kind
    }

    /// Whether it is a ratio, which has a minimum count besides its limit.
    pub const fn is_ratio(self) -> bool {
        matches!(self.0.kind, Kind::Ratio(..))
    }

    /// Whether it is the sequential test's decision, which has neither window nor limit.
    pub const fn is_likelihood(self) -> bool {
        matches!(self.0.kind, Kind::Likelihood)
    }

    /// Whether it tells only how much a source does, and nothing about how: by such measures alone
    /// a newsletter cannot be told from spam.
    pub fn is_rate(self) -> bool {
        match self.0.kind {
            Kind::Count(counters) => counters.iter().all(|counter| {
                matches!(
                    counter,
                    C::Attempts
                        | C::Established
                        | C::Retransmits
                        | C::Denied
                        | C::WouldDeny
                        | C::Redirected
                        | C::Kibibytes
                        | C::Ok
                        | C::More
                        | C::Messages
                        | C::Encrypted
                        | C::Plain
                        | C::OpenSeconds
                )
            }),
            Kind::Ratio(..) | Kind::Likelihood => false,
        }
    }

    /// The counters that have to be known for it.
    pub(super) fn needs(self) -> Fields {
        match self.0.kind {
            Kind::Count(counters) => Fields::of(counters),
            Kind::Ratio(part, whole) => Fields::of(part).union(Fields::of(whole)),
            Kind::Likelihood => Fields::NONE,
        }
    }
}

impl PartialEq for Measure {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Measure {}

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

/// There is no such measure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no measure `{}`{}", crate::model::escape(name),
    nearest.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
)]
pub struct NoSuchMeasure {
    name: String,
    nearest: Option<&'static str>,
}

impl FromStr for Measure {
    type Err = NoSuchMeasure;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::all()
            .find(|measure| measure.name() == text)
            .ok_or_else(|| NoSuchMeasure {
                name: text.to_owned(),
                nearest: Self::all()
                    .map(Self::name)
                    .map(|name| (strsim::jaro_winkler(text, name), name))
                    .filter(|(similarity, _)| *similarity >= 0.8)
                    .max_by(|(a, _), (b, _)| a.total_cmp(b))
                    .map(|(_, name)| name),
            })
    }
}
