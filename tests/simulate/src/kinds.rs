//! Who lives on a hosting platform, honest and infected, and how many of each kind.

/// A kind of tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A few mails a day to the local mail server.
    ContactForm,
    /// Orders, through an account at a provider.
    Shop,
    /// Bursts through a provider's account.
    NewsletterRelayed,
    /// Bursts from a mail server of its own.
    NewsletterDirect,
    /// The first newsletter ever, in the days that are looked at.
    NewsletterNew,
    /// At midnight, with everybody else.
    Cron,
    /// A mail server of its own, whose mail is often greylisted.
    MailServer,
    /// The same, with software that knows no TLS.
    MailServerPlain,
    /// One dead server, forever.
    BrokenForm,
    /// Posts to all its readers, from a mail server of its own.
    MailingList,
    /// All its mail through one smarthost, much of it.
    Smarthost,
    /// A help desk that sends through the accounts of its own customers.
    ManyAccounts,
    /// Infected: to the world's servers, as fast as it can.
    FastDirect,
    /// Infected: a few an hour.
    Slow,
    /// Infected: a few an hour each, many tenants at once.
    Together,
    /// Infected: fast, to recipients that exist, with TLS as often as not.
    ValidRecipients,
    /// Infected: with stolen accounts, at their providers.
    StolenAccounts,
    /// Infected: on every port that takes mail.
    PortHopping,
}

impl Kind {
    /// All of them, honest ones first.
    pub(crate) const ALL: [Self; 18] = [
        Self::ContactForm,
        Self::Shop,
        Self::NewsletterRelayed,
        Self::NewsletterDirect,
        Self::NewsletterNew,
        Self::Cron,
        Self::MailServer,
        Self::MailServerPlain,
        Self::BrokenForm,
        Self::MailingList,
        Self::Smarthost,
        Self::ManyAccounts,
        Self::FastDirect,
        Self::Slow,
        Self::Together,
        Self::ValidRecipients,
        Self::StolenAccounts,
        Self::PortHopping,
    ];

    /// How many of them there are in ten thousand.
    pub(crate) const fn count(self) -> usize {
        match self {
            Self::ContactForm => 4_680,
            Self::Shop => 1_500,
            Self::NewsletterRelayed => 300,
            Self::NewsletterDirect => 100,
            Self::NewsletterNew => 4,
            Self::Cron => 1_200,
            Self::MailServer => 300,
            Self::MailServerPlain => 16,
            Self::BrokenForm => 100,
            Self::MailingList => 150,
            Self::Smarthost => 1_500,
            Self::ManyAccounts => 20,
            Self::FastDirect | Self::ValidRecipients | Self::StolenAccounts | Self::PortHopping => {
                10
            }
            Self::Slow => 20,
            Self::Together => 70,
        }
    }

    /// Whether somebody else sends through it.
    pub(crate) fn is_infected(self) -> bool {
        self >= Self::FastDirect
    }

    /// Whether it is to be stopped within some dozens of connections.
    pub(crate) fn is_fast(self) -> bool {
        matches!(
            self,
            Self::FastDirect | Self::ValidRecipients | Self::StolenAccounts | Self::PortHopping
        )
    }

    /// What it is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ContactForm => "contact form",
            Self::Shop => "shop",
            Self::NewsletterRelayed => "newsletter, relayed",
            Self::NewsletterDirect => "newsletter, direct",
            Self::NewsletterNew => "newsletter, its first",
            Self::Cron => "cron at midnight",
            Self::MailServer => "mail server, greylisted",
            Self::MailServerPlain => "mail server, no TLS",
            Self::BrokenForm => "broken form",
            Self::MailingList => "mailing list",
            Self::Smarthost => "behind a smarthost",
            Self::ManyAccounts => "many accounts",
            Self::FastDirect => "fast direct-to-MX",
            Self::Slow => "slow and low",
            Self::Together => "many together",
            Self::ValidRecipients => "valid recipients",
            Self::StolenAccounts => "stolen accounts",
            Self::PortHopping => "port-hopping",
        }
    }
}
