//! What a mail server means when it says no: the phrases of `words.txt`.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::measure::Counter;

/// What a reply means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// Come back later.
    Greylist,
    /// There is no such mailbox.
    UnknownUser,
    /// The sender is on a blacklist.
    Listing,
    /// It sends too much.
    Rate,
    /// Its reputation is bad.
    Reputation,
    /// The message looks like spam.
    Content,
}

impl Meaning {
    /// In the order in which they count.
    const ALL: [Self; 6] = [
        Self::Greylist,
        Self::UnknownUser,
        Self::Listing,
        Self::Rate,
        Self::Reputation,
        Self::Content,
    ];

    /// What it is called in `words.txt`.
    const fn name(self) -> &'static str {
        match self {
            Self::Greylist => "greylist",
            Self::UnknownUser => "unknown-user",
            Self::Listing => "listing",
            Self::Rate => "rate",
            Self::Reputation => "reputation",
            Self::Content => "content",
        }
    }

    /// What a reply means, as far as its first line says.
    pub fn of(reply: &str) -> Option<Self> {
        let found = PHRASES.finder.find_overlapping_iter(reply);
        found
            .map(|phrase| PHRASES.meanings[phrase.pattern().as_usize()])
            .min()
    }

    /// Whether a provider calls the sender a spammer by it.
    pub const fn is_accusation(self) -> bool {
        !matches!(self, Self::Greylist | Self::UnknownUser)
    }

    /// What counts such replies.
    pub(super) const fn counter(self) -> Counter {
        match self {
            Self::Greylist => Counter::Greylisted,
            Self::UnknownUser => Counter::UnknownUser,
            Self::Listing => Counter::Listed,
            Self::Rate => Counter::TooFast,
            Self::Reputation => Counter::Reputation,
            Self::Content => Counter::Content,
        }
    }
}

/// The phrases, ready to be looked for.
struct Phrases {
    finder: AhoCorasick,
    /// What each phrase means.
    meanings: Vec<Meaning>,
}

const LIST: &str = include_str!("words.txt");

static PHRASES: LazyLock<Phrases> = LazyLock::new(|| {
    let (phrases, meanings): (Vec<_>, Vec<_>) = phrases().unzip();
    #[expect(
        clippy::expect_used,
        reason = "the list is part of the program, and the tests read it"
    )]
    let finder = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(phrases)
        .expect("the phrases fit into an automaton");
    Phrases { finder, meanings }
});

/// Every phrase of the list with what it means.
fn phrases() -> impl Iterator<Item = (&'static str, Meaning)> {
    LIST.lines().filter_map(|line| {
        let (meaning, phrase) = line.split_once(": ")?;
        let known = Meaning::ALL
            .into_iter()
            .find(|known| known.name() == meaning)?;
        Some((phrase, known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_understood_and_every_phrase_has_a_sample() {
        let mut phrase: Option<(&str, Meaning)> = None;
        let mut samples = 0;
        let mut phrases = phrases();
        for line in LIST.lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(sample) = line.strip_prefix("> ") {
                let (phrase, meaning) = phrase.expect("a sample stands below a phrase");
                let lower = sample.to_ascii_lowercase();
                assert!(lower.contains(phrase), "`{phrase}` is not in `{sample}`");
                assert_eq!(Meaning::of(sample), Some(meaning), "{sample}");
                assert!(sample.starts_with(['4', '5']), "{sample}");
                samples += 1;
            } else {
                assert!(samples > 0 || phrase.is_none(), "{phrase:?} has no sample");
                samples = 0;
                let next = phrases.next();
                let (text, _) = next.unwrap_or_else(|| panic!("`{line}` is not understood"));
                assert!(line.ends_with(text), "`{line}` is not understood");
                assert_eq!(text, text.to_ascii_lowercase(), "phrases are in lower case");
                phrase = next;
            }
        }
        assert!(samples > 0);
    }

    #[test]
    fn what_means_nothing_is_not_given_a_meaning() {
        for reply in [
            "",
            "250 2.0.0 Ok: queued as 4B1F",
            "451 4.3.0 Temporary failure, try again later",
            "452 4.2.2 Mailbox full",
            "550 5.7.1 Relaying denied",
            "550 5.7.26 Unauthenticated email is not accepted due to domain's DMARC policy",
            "554 5.7.1 <mail.example.com>: Helo command rejected: need fully-qualified hostname",
            "421 4.4.2 mx.example.com Error: timeout exceeded",
            "535 5.7.8 Authentication credentials invalid",
        ] {
            assert_eq!(Meaning::of(reply), None, "{reply}");
        }
    }

    #[test]
    fn an_honest_reason_goes_before_an_accusation() {
        let reply = "450 4.2.0 Greylisted, or listed at spamhaus";
        assert_eq!(Meaning::of(reply), Some(Meaning::Greylist));
        assert!(!Meaning::Greylist.is_accusation());
        assert!(!Meaning::UnknownUser.is_accusation());
    }
}
