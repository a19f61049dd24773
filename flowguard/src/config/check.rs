//! Checks of single values. Every problem is noted and the check goes on, so that an operator
//! sees all of them at once.

use std::{
    collections::HashSet,
    fmt::Display,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use flowguard_common::verdict::Rate;
use globset::Glob;
use ipnet::IpNet;
use serde_spanned::Spanned;

use super::{edges::Globs, error::Problem, raw::RawRate};
use crate::policy::SourceGlobs;

/// Longest name of a rule, an exemption or a container engine.
const MAX_NAME: usize = 64;

/// Longest time that a rate may take to allow its burst again. Far from where the kernel's
/// 64-bit nanoseconds end, and of no use to anybody beyond.
const MAX_REFILL: Duration = Duration::from_hours(24 * 366);

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

    fn accept<T, U, E: Display>(
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
        let number = *value.get_ref();
        let result = (min..=max)
            .contains(&number)
            .then_some(number)
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("{number} is out of range: write {min} to {max}"));
        self.accept(key, value, result)
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
        const MAX: i64 = 1_000_000_000;
        let burst = self.integer::<u64>(&format!("{key}.burst"), &raw.burst, 1, MAX);
        let rate = self.integer::<u64>(&format!("{key}.rate"), &raw.rate, 1, MAX);
        let per = self.duration(
            &format!("{key}.per"),
            &raw.per,
            Duration::from_millis(1),
            MAX_REFILL,
        );
        let (burst, rate, per) = (burst?, rate?, u64::try_from(per?.as_nanos()).ok()?);
        let interval_ns = per / rate;
        let refill = interval_ns.checked_mul(burst).map(Duration::from_nanos);
        let result = if interval_ns == 0 {
            Err("it is more than one attempt a nanosecond: lower `rate` or raise `per`")
        } else if refill.is_none_or(|refill| refill > MAX_REFILL) {
            Err(
                "the burst takes more than a year to be allowed again: lower `burst` or raise `rate`",
            )
        } else {
            Ok(Rate { interval_ns, burst })
        };
        self.accept(key, &raw.burst, result)
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
            .filter_map(|text| self.accept(key, text, network(text.get_ref())))
            .collect();
        (networks.len() == list.len()).then_some(networks)
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

fn network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse()
        .or_else(|_| text.parse().map(|addr: IpAddr| IpNet::from(addr)))
        .map_err(|_| {
            format!("`{text}` is no address or network: write it like 192.0.2.1 or 2001:db8::/32")
        })?;
    if network.prefix_len() == 0 {
        return Err(format!(
            "`{text}` is everybody: nothing would be counted as direct or submission; \
             use [[exempt]] for sources that may send anything"
        ));
    }
    if network.trunc() != network {
        return Err(format!(
            "`{text}` has bits set behind its prefix: write {} or only the address",
            network.trunc()
        ));
    }
    Ok(network)
}
