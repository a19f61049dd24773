//! Checks of single values. Every problem is noted and the check goes on, so that an operator
//! sees all of them at once.

use std::{
    collections::HashSet,
    fmt::Display,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use flowguard_common::verdict::Rate;
use globset::Glob;
use ipnet::IpNet;
use serde_spanned::Spanned;

use super::{edges::Globs, error::Problem, raw::RawRate};
use crate::{
    policy::SourceGlobs,
    rate::{self, MAX_CONNECTIONS, MAX_REFILL},
};

/// Longest name of a rule, an exemption or a container engine.
const MAX_NAME: usize = 64;

/// Port of a smarthost that is given without one (RFC 5321, section 4.5.4.2).
const SMTP_PORT: u16 = 25;

/// Collects what is wrong with a text.
pub(super) struct Checker<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            problems: Vec::new(),
        }
    }

    /// What was found, in the order of the text.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems
            .sort_by_key(|problem| (problem.line, problem.column));
        self.problems
    }

    /// Notes a problem with a value.
    pub(super) fn note<T>(&mut self, key: &str, value: &Spanned<T>, message: impl Display) {
        self.problems.push(Problem::at(
            self.text,
            &value.span(),
            key,
            &message.to_string(),
        ));
    }

    /// Whether a value stands in the text, and is no default.
    pub(super) fn is_written<T>(&self, value: &Spanned<T>) -> bool {
        value.span().start < self.text.len()
    }

    /// What a check made of a value; its error is noted.
    pub(super) fn accept<T, U, E: Display>(
        &mut self,
        key: &str,
        value: &Spanned<T>,
        result: Result<U, E>,
    ) -> Option<U> {
        result.map_err(|error| self.note(key, value, error)).ok()
    }

    /// A whole number of some `unit` between two bounds.
    pub(super) fn integer<T: TryFrom<i64>>(
        &mut self,
        key: &str,
        value: &Spanned<i64>,
        min: i64,
        max: i64,
    ) -> Option<T> {
        let convert = |number| T::try_from(number).ok();
        let result = within(*value.get_ref(), min, max, convert);
        self.accept(key, value, result)
    }

    /// A number between two bounds.
    pub(super) fn number(
        &mut self,
        key: &str,
        value: &Spanned<f64>,
        min: f64,
        max: f64,
    ) -> Option<f64> {
        let result = within(*value.get_ref(), min, max, Some);
        self.accept(key, value, result)
    }

    /// Notes that a name is none of those there are; what could not be read has none.
    pub(super) fn known<'n, N: Iterator<Item = &'n str>>(
        &mut self,
        key: &str,
        value: &Spanned<String>,
        what: &str,
        known: Option<N>,
    ) {
        let name = value.get_ref();
        let Some(known) = known.map(Iterator::collect::<Vec<_>>) else {
            return;
        };
        if known.contains(&name.as_str()) {
            return;
        }
        let list = known.join(", ");
        self.note(
            key,
            value,
            format!("there is no {what} `{name}`: write one of {list}"),
        );
    }

    /// Bytes of a ring buffer.
    pub(super) fn ring(&mut self, key: &str, value: &Spanned<i64>) -> Option<u32> {
        // The smallest page there is, and far below what the kernel refuses.
        let bytes = self.integer::<u32>(key, value, 4_096, 1 << 28)?;
        let result = bytes.is_power_of_two().then_some(bytes).ok_or_else(|| {
            format!(
                "{bytes} is no power of two: write {}",
                bytes.next_power_of_two()
            )
        });
        self.accept(key, value, result)
    }

    /// A duration such as `5m` between two bounds.
    pub(super) fn duration(
        &mut self,
        key: &str,
        value: &Spanned<String>,
        min: Duration,
        max: Duration,
    ) -> Option<Duration> {
        let text = value.get_ref();
        let result = match crate::model::parse_duration(text) {
            Ok(duration) if (min..=max).contains(&duration) => Ok(duration),
            Ok(_) => Err(format!(
                "`{text}` is out of range: write {} to {}",
                humantime::format_duration(min),
                humantime::format_duration(max)
            )),
            Err(error) => Err(format!(
                "`{text}` is no duration ({error}): write it like 30s, 10m, 1h or 7d"
            )),
        };
        self.accept(key, value, result)
    }

    /// `rate` attempts every `per`, after `burst` at once.
    pub(super) fn rate(&mut self, key: &str, raw: &RawRate) -> Option<Rate> {
        const MAX: i64 = MAX_CONNECTIONS as i64;
        let burst = self.integer::<u64>(&format!("{key}.burst"), &raw.burst, 1, MAX);
        let rate = self.integer::<u64>(&format!("{key}.rate"), &raw.rate, 1, MAX);
        let per = self.duration(
            &format!("{key}.per"),
            &raw.per,
            Duration::from_millis(1),
            MAX_REFILL,
        );
        let rate = rate::rate(burst?, rate?, per?);
        self.accept(key, &raw.burst, rate)
    }

    /// Ports, each of them once.
    pub(super) fn ports(
        &mut self,
        key: &str,
        value: &Spanned<Vec<Spanned<i64>>>,
        min: usize,
    ) -> Option<Vec<u16>> {
        const MAX: usize = 16;
        let list = value.get_ref();
        if !(min..=MAX).contains(&list.len()) {
            self.note(
                key,
                value,
                format!("{} ports: write {min} to {MAX}", list.len()),
            );
        }
        let mut seen = HashSet::new();
        let ports: Vec<_> = list
            .iter()
            .filter_map(|port| {
                let number = self.integer(key, port, 1, i64::from(u16::MAX))?;
                if !seen.insert(number) {
                    self.note(key, port, format!("port {number} is here twice"));
                }
                Some(number)
            })
            .collect();
        (ports.len() == list.len()).then_some(ports)
    }

    /// Addresses and networks.
    pub(super) fn networks(
        &mut self,
        key: &str,
        value: &Spanned<Vec<Spanned<String>>>,
        max: usize,
    ) -> Option<Vec<IpNet>> {
        let list = value.get_ref();
        if list.len() > max {
            self.note(
                key,
                value,
                format!("{} networks are too many: write up to {max}", list.len()),
            );
        }
        let networks: Vec<_> = list
            .iter()
            .filter_map(|text| self.accept(key, text, trusted(text.get_ref())))
            .collect();
        (networks.len() == list.len()).then_some(networks)
    }

    /// Hosts that take redirected mail, at most one of each family.
    pub(super) fn smarthosts(
        &mut self,
        key: &str,
        value: &Spanned<Vec<Spanned<String>>>,
    ) -> Option<Vec<SocketAddr>> {
        let list = value.get_ref();
        let mut hosts: Vec<SocketAddr> = Vec::new();
        for text in list {
            let host = smarthost(text.get_ref()).and_then(|host| {
                let taken = hosts.iter().any(|other| other.is_ipv4() == host.is_ipv4());
                let family = if host.is_ipv4() { "IPv4" } else { "IPv6" };
                (!taken).then_some(host).ok_or_else(|| {
                    format!("there is a smarthost for {family} already: choose one of each family")
                })
            });
            hosts.extend(self.accept(key, text, host));
        }
        (hosts.len() == list.len()).then_some(hosts)
    }

    /// An absolute path.
    pub(super) fn path(&mut self, key: &str, value: &Spanned<String>) -> Option<PathBuf> {
        let text = value.get_ref();
        let result = if text.contains('\0') {
            Err(format!("`{text}` has a zero byte"))
        } else if Path::new(text).is_absolute() {
            Ok(PathBuf::from(text))
        } else {
            Err(format!("`{text}` is no absolute path: begin it with `/`"))
        };
        self.accept(key, value, result)
    }

    /// The name of a section, which no other of its kind has.
    pub(super) fn name(
        &mut self,
        key: &str,
        value: &Spanned<String>,
        taken: &mut HashSet<String>,
    ) -> Option<String> {
        let name = value.get_ref();
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let result = if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fine) {
            Err(format!(
                "`{name}` is no name: write 1 to {MAX_NAME} letters, digits, `-`, `_` or `.`"
            ))
        } else if taken.insert(name.clone()) {
            Ok(name.clone())
        } else {
            Err(format!(
                "`{name}` is the name of another one: choose a new one"
            ))
        };
        self.accept(key, value, result)
    }

    /// A name that a panel gave, which no other of its kind has.
    pub(super) fn panel_name(
        &mut self,
        key: &str,
        value: &Spanned<String>,
        taken: &mut HashSet<String>,
    ) -> Option<String> {
        let name = value.get_ref();
        let result = if name.is_empty() {
            Err("it is empty".to_owned())
        } else if taken.insert(name.clone()) {
            Ok(name.clone())
        } else {
            Err(format!("`{name}` is here twice"))
        };
        self.accept(key, value, result)
    }

    /// Globs over sources, at least one.
    pub(super) fn sources(
        &mut self,
        key: &str,
        value: &Spanned<Vec<Spanned<String>>>,
    ) -> Option<SourceGlobs> {
        let list = value.get_ref();
        if list.is_empty() {
            self.note(key, value, "it names nobody: write `*` for all");
        }
        // One by one, so that each problem stands where its glob does.
        for glob in list {
            let alone = SourceGlobs::new(vec![glob.get_ref().clone()]);
            self.accept(key, glob, alone);
        }
        let all = list.iter().map(|glob| glob.get_ref().clone()).collect();
        SourceGlobs::new(all).ok()
    }

    /// Globs over interface names.
    pub(super) fn globs(&mut self, key: &str, list: &[Spanned<String>]) -> Option<Globs> {
        let globs: Vec<_> = list
            .iter()
            .filter_map(|text| {
                let glob = Glob::new(text.get_ref());
                self.accept(key, text, glob)
            })
            .collect();
        Globs::new(&globs).ok()
    }
}

/// A number between two bounds, as somebody else wants it.
fn within<N: Copy + Display + PartialOrd, T>(
    number: N,
    min: N,
    max: N,
    convert: impl FnOnce(N) -> Option<T>,
) -> Result<T, String> {
    (min..=max)
        .contains(&number)
        .then_some(number)
        .and_then(convert)
        .ok_or_else(|| format!("{number} is out of range: write {min} to {max}"))
}

fn smarthost(text: &str) -> Result<SocketAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let host: SocketAddr = text
        .parse()
        .or_else(|_| {
            let address = bare.unwrap_or(text).parse();
            address.map(|address: IpAddr| SocketAddr::new(address, SMTP_PORT))
        })
        .map_err(|_| {
            format!(
                "`{text}` is no address of a mail server: write it like 192.0.2.25:25 or \
                 [2001:db8::25]:25"
            )
        })?;
    if host.port() == 0 {
        return Err(format!("`{text}` has port 0: write the port it listens on"));
    }
    let address = host.ip();
    if address != address.to_canonical() {
        return Err(format!(
            "`{text}` is an IPv4 address in IPv6 form: write {}",
            address.to_canonical()
        ));
    }
    if address.is_unspecified() || address.is_multicast() {
        return Err(format!("`{text}` is the address of no single host"));
    }
    Ok(host)
}

/// A network that some are to be trusted in, but not everybody.
fn trusted(text: &str) -> Result<IpNet, String> {
    let network = network(text)?;
    if network.prefix_len() == 0 {
        return Err(format!(
            "`{text}` is everybody: nothing would be counted as direct or submission; \
             use [[exempt]] for sources that may send anything"
        ));
    }
    Ok(network)
}

/// An address or a network.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse()
        .or_else(|_| text.parse().map(|addr: IpAddr| IpNet::from(addr)))
        .map_err(|_| {
            format!("`{text}` is no address or network: write it like 192.0.2.1 or 2001:db8::/32")
        })?;
    if network.trunc() != network {
        return Err(format!(
            "`{text}` has bits set behind its prefix: write {} or only the address",
            network.trunc()
        ));
    }
    Ok(network)
}
