//! The kernels that the end-to-end tests run on, one of each Debian release that hosters run and
//! the newest there is.

use std::fmt;

use anyhow::{Result, bail};
use clap::ValueEnum;

/// A kernel of Debian's, by its series.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub(crate) enum Kernel {
    /// Debian 11.
    #[value(name = "5.10")]
    Bullseye,
    /// Debian 12.
    #[value(name = "6.1")]
    Bookworm,
    /// Debian 13.
    #[value(name = "6.12")]
    Trixie,
    /// What Debian is developed on.
    #[value(name = "7.2")]
    Sid,
}

impl Kernel {
    /// All of them, the oldest first.
    pub(crate) const ALL: [Self; 4] = [Self::Bullseye, Self::Bookworm, Self::Trixie, Self::Sid];

    /// The release of Debian whose packages carry it.
    pub(crate) fn suite(self) -> &'static str {
        match self {
            Self::Bullseye => "bullseye",
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        }
    }

    /// Its series, such as `6.1`.
    pub(crate) fn series(self) -> &'static str {
        match self {
            Self::Bullseye => "5.10",
            Self::Bookworm => "6.1",
            Self::Trixie => "6.12",
            Self::Sid => "7.2",
        }
    }

    /// The kernel of this series.
    pub(crate) fn of_series(series: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kernel| kernel.series() == series)
    }

    /// Checks that a release, such as `6.1.0-48-cloud-amd64`, is of this series. Point releases
    /// come and go; Debian's development branch goes on to the next series now and then.
    pub(crate) fn check(self, release: &str) -> Result<()> {
        if Version::parse(release) != Version::parse(self.series()) {
            bail!(
                "{} carries {release} now, which is not {self}: say so in xtask/src/vm/kernels.rs, \
                 and run all kernels again",
                self.suite()
            );
        }
        Ok(())
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linux {}", self.series())
    }
}

/// The first two numbers of a kernel's version, in which features are told.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Version(u32, u32);

impl Version {
    /// Reads the version at the beginning of a text such as `6.12.9-cloud-amd64`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        Some(Self(
            numbers.next()?.parse().ok()?,
            numbers.next()?.parse().ok()?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let [five, six, twelve] = ["5.10", "6.1.0-48-cloud-amd64", "6.12"].map(Version::parse);
        assert!(five < six && six < twelve);
        assert_eq!(Version::parse("sid"), None);
        assert_eq!(Version::parse("6"), None);
    }

    #[test]
    fn the_names_typed_are_the_series() {
        for kernel in Kernel::ALL {
            let typed = kernel.to_possible_value().unwrap();
            assert_eq!(typed.get_name(), kernel.series());
            assert_eq!(Kernel::of_series(kernel.series()), Some(kernel));
        }
    }

    #[test]
    fn a_point_release_is_the_same_series_and_the_next_series_is_not() {
        assert!(Kernel::Sid.check("7.2.99+deb14-cloud-amd64").is_ok());
        let error = Kernel::Sid.check("7.3.1+deb14-cloud-amd64").unwrap_err();
        assert!(error.to_string().contains("kernels.rs"), "{error}");
        assert!(Kernel::Bookworm.check("6.12.1").is_err());
    }
}
