//! The words everything above the kernel speaks in: sources, what an operator calls them, and
//! what was counted about them.

mod totals;

use std::{fmt, str::FromStr, time::Duration};

use flowguard_common::{class::Class, source::Kind};
use serde::{Deserialize, Serialize};

pub use self::totals::{Replies, Totals};

/// A tenant's stable name: outlives container restarts, cgroup ids and interface indices.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceName {
    /// What sort of tenant it is.
    pub kind: Kind,
    /// The name its owner gave it, unescaped; `#UID` for a user without a name.
    pub name: String,
}

impl SourceName {
    /// The source that is written `kind:name`, unescaped, as in JSON and records.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        let kinds = [Kind::User, Kind::Container, Kind::Iface, Kind::Addr];
        let kind = kinds.into_iter().find(|known| known.name() == kind)?;
        (!name.is_empty()).then(|| Self {
            kind,
            name: name.to_owned(),
        })
    }

    /// Whether this is a cgroup that an operator named by its path, whoever runs in it.
    pub fn is_cgroup_path(&self) -> bool {
        self.kind == Kind::Container && self.name.starts_with('/')
    }

    /// A host user.
    pub fn user(name: impl Into<String>) -> Self {
        Self {
            kind: Kind::User,
            name: name.into(),
        }
    }

    /// A container.
    pub fn container(name: impl Into<String>) -> Self {
        Self {
            kind: Kind::Container,
            name: name.into(),
        }
    }

    /// An interface nobody else claims.
    pub fn iface(name: impl Into<String>) -> Self {
        Self {
            kind: Kind::Iface,
            name: name.into(),
        }
    }
}

impl SourceName {
    /// A prefix at a gateway; a whole IPv4 address without its length, as people write it.
    pub fn addr(net: ipnet::IpNet) -> Self {
        let net = net.trunc();
        let whole = net.prefix_len() == net.max_prefix_len();
        Self {
            kind: Kind::Addr,
            name: if whole {
                net.addr().to_string()
            } else {
                net.to_string()
            },
        }
    }
}

/// `user:alice`. Control characters are escaped, so the result is safe to print.
impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), escape(&self.name))
    }
}

/// What an operator types for a source: `user:NAME|UID`, `container:NAME|ID`, `cgroup:PATH`,
/// `iface:NAME`, `addr:IP[/N]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceRef {
    /// `user:alice`, `user:1001`.
    User(String),
    /// `container:web`, `container:0123abcd`.
    Container(String),
    /// `cgroup:/system.slice/web.service`.
    Cgroup(String),
    /// `iface:tap0`.
    Iface(String),
    /// `addr:192.0.2.1`, `addr:2001:db8::/64`.
    Addr(ipnet::IpNet),
}

/// Why a text is no [`SourceRef`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no source: {reason}; write user:NAME, container:NAME, cgroup:PATH, iface:NAME or addr:IP[/N]",
    escape(text)
)]
pub struct SourceRefError {
    text: String,
    reason: &'static str,
}

impl FromStr for SourceRef {
    type Err = SourceRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason| SourceRefError {
            text: text.to_owned(),
            reason,
        };
        let (kind, name) = text
            .split_once(':')
            .ok_or_else(|| error("it names no kind"))?;
        if name.is_empty() {
            return Err(error("the name is empty"));
        }
        match kind {
            "user" => Ok(Self::User(name.to_owned())),
            "container" => Ok(Self::Container(name.to_owned())),
            "cgroup" => Ok(Self::Cgroup(name.to_owned())),
            "iface" => Ok(Self::Iface(name.to_owned())),
            "addr" => name
                .parse()
                .or_else(|_| name.parse().map(|addr: std::net::IpAddr| addr.into()))
                .map(Self::Addr)
                .map_err(|_| error("the address is not valid")),
            _ => Err(error("the kind is unknown")),
        }
    }
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user:{}", escape(name)),
            Self::Container(name) => write!(f, "container:{}", escape(name)),
            Self::Cgroup(path) => write!(f, "cgroup:{}", escape(path)),
            Self::Iface(name) => write!(f, "iface:{}", escape(name)),
            Self::Addr(net) => write!(f, "addr:{net}"),
        }
    }
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ParseDurationError {
    /// It is not written as one.
    #[error("{0}")]
    Malformed(#[from] humantime::DurationError),
    /// It has a unit that is easily taken for another, `M` for one, which is a month.
    #[error("the units are ms, s, m, h, d and w")]
    Unit,
}

/// `500ms`, `30s`, `10m`, `1h`, `7d`, `2w`, and sums such as `1h30m`.
///
/// # Errors
///
/// It is something else.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let duration = humantime::parse_duration(text)?;
    let unit = |c: char| c.is_ascii_digit() || c.is_whitespace();
    let known = ["ms", "s", "m", "h", "d", "w"];
    if text
        .split(unit)
        .all(|unit| unit.is_empty() || known.contains(&unit))
    {
        Ok(duration)
    } else {
        Err(ParseDurationError::Unit)
    }
}

/// Makes a text from outside safe to print: control characters, line breaks and the invisible
/// or direction-changing characters that forge what a terminal shows are written as `\u{…}`.
pub fn escape(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let deceptive = c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
            let plain = (!deceptive).then_some(c);
            plain.into_iter().chain(deceptive.then(|| c.escape_unicode()).into_iter().flatten())
        })
        .collect()
}

/// A class as it is spelled in configuration and output.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum ClassName {
    /// Port 25 to the world.
    Direct,
    /// A submission port to the world.
    Submission,
    /// A guarded port at a trusted destination.
    Relay,
}

impl From<ClassName> for Class {
    fn from(class: ClassName) -> Self {
        match class {
            ClassName::Direct => Self::Direct,
            ClassName::Submission => Self::Submission,
            ClassName::Relay => Self::Relay,
        }
    }
}

impl From<Class> for ClassName {
    fn from(class: Class) -> Self {
        match class {
            Class::Direct => Self::Direct,
            Class::Submission => Self::Submission,
            Class::Relay => Self::Relay,
        }
    }
}

/// `observe` or `enforce`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Count what would be denied; deny only what an operator blocked by hand.
    Observe,
    /// Carry verdicts out.
    Enforce,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_references_are_told_apart() {
        assert_eq!("user:alice".parse(), Ok(SourceRef::User("alice".into())));
        assert_eq!("cgroup:/a:b".parse(), Ok(SourceRef::Cgroup("/a:b".into())));
        assert_eq!(
            "addr:192.0.2.1".parse::<SourceRef>().unwrap().to_string(),
            "addr:192.0.2.1/32"
        );
        assert_eq!(
            "addr:2001:db8::/64"
                .parse::<SourceRef>()
                .unwrap()
                .to_string(),
            "addr:2001:db8::/64"
        );
        for bad in ["alice", "user:", "usr:alice", "addr:1.2.3", ""] {
            assert!(bad.parse::<SourceRef>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in [
            SourceName::user("a:b"),
            SourceName::iface("tap0"),
            SourceName::container("x"),
        ] {
            assert_eq!(SourceName::parse(&name.to_string()), Some(name));
        }
        for bad in ["alice", "user:", "usr:alice"] {
            assert_eq!(SourceName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_month_is_no_minute() {
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("2w"), Ok(Duration::from_secs(14 * 86_400)));
        for bad in ["5M", "1y", "1month", "5min", "3", "", "-1s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hostile_names_are_escaped() {
        assert_eq!(escape("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(escape("x\ny\u{202e}z"), "x\\u{a}y\\u{202e}z");
        assert_eq!(escape("größe'\"; --"), "größe'\"; --");
    }
}
