//! What older kernels lack, as far as tests are about it.
//!
//! A test says what it needs in its first line: `feature::TCX.require()?`. Where that is missing
//! it fails, in words that `cargo xtask vm test` understands: there it counts as "not on this
//! kernel". A kernel new enough to have the feature is never excused.

use std::os::unix::net::UnixDatagram;

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    programs::{ProgramType, SchedClassifier, TcAttachType},
    sys::{BpfHelper, is_helper_supported},
};
use nix::{
    errno::Errno,
    getsockopt_impl, libc,
    sys::{
        socket::{getsockopt, sockopt::GetStruct},
        utsname::uname,
    },
};

/// Something that came with a version of Linux.
#[derive(Debug)]
pub struct Feature {
    name: &'static str,
    since: (u32, u32),
    probe: fn() -> Result<bool>,
}

/// Links at network devices that are replaced atomically and last while they are pinned.
pub const TCX: Feature = Feature {
    name: "TCX",
    since: (6, 6),
    probe: || Ok(SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_ok()),
};

/// A program may choose the error that a refused `connect()` gets.
pub const CHOSEN_ERRNO: Feature = Feature {
    name: "bpf_set_retval",
    since: (5, 18),
    probe: || {
        let helper = BpfHelper::BPF_FUNC_set_retval;
        Ok(is_helper_supported(ProgramType::CgroupSockAddr, helper)?)
    },
};

/// Processes may ask for the cookie of a network namespace, which programs see since 5.7.
pub const NETNS_COOKIE: Feature = Feature {
    name: "SO_NETNS_COOKIE",
    since: (5, 14),
    probe: || match getsockopt(&UnixDatagram::unbound()?, NetnsCookie) {
        Ok(_) => Ok(true),
        Err(Errno::ENOPROTOOPT) => Ok(false),
        Err(error) => Err(error.into()),
    },
};

#[derive(Clone, Copy, Debug)]
struct NetnsCookie;

getsockopt_impl!(
    NetnsCookie,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64,
    GetStruct<u64>
);

impl Feature {
    /// Whether this kernel has it.
    ///
    /// # Errors
    /// When it cannot be asked, or the kernel lacks what a kernel of its version should have.
    pub fn is_there(&self) -> Result<bool> {
        let Self { name, since, probe } = self;
        let there = probe().with_context(|| format!("whether there is {name} cannot be asked"))?;
        let release = uname()?.release().to_string_lossy().into_owned();
        let version = version(&release).with_context(|| format!("no version: {release}"))?;
        ensure!(
            there || version < *since,
            "Linux {release} should have {name}, which came with {}.{}",
            since.0,
            since.1
        );
        Ok(there)
    }

    /// Ends the test where this kernel lacks it.
    ///
    /// # Errors
    /// Then, in words that the runner of virtual machines understands; and as
    /// [`Feature::is_there`].
    pub fn require(&self) -> Result<()> {
        if self.is_there()? {
            return Ok(());
        }
        let (major, minor) = self.since;
        bail!(
            "not on this kernel, because it has no {} (Linux {major}.{minor})",
            self.name
        )
    }
}

/// What a program that the guard refuses reads out of its error.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn refusal() -> Result<&'static str> {
    Ok(if CHOSEN_ERRNO.is_there()? {
        "Connection refused"
    } else {
        "Operation not permitted"
    })
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
