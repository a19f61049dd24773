//! What older kernels lack, as far as tests are about it.
//!
//! A test says what it needs in its first line: `feature::TCX.require()?`. Where that is missing
//! it fails, in words that `cargo xtask vm test` understands: there it counts as "not on this
//! kernel". A kernel new enough to have the feature is never excused.

use std::{
    fs,
    io::Write as _,
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::net::UnixDatagram,
    },
    process::Command,
};

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

use crate::{netns::Netns, process::run, wait::SOON};

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

/// Processes are told the cookie of a network namespace; programs are since 5.7.
pub const NETNS_COOKIE: Feature = Feature {
    name: "SO_NETNS_COOKIE",
    since: (5, 14),
    probe: || match getsockopt(&UnixDatagram::unbound()?, NetnsCookie) {
        Ok(_) => Ok(true),
        Err(Errno::ENOPROTOOPT) => Ok(false),
        Err(error) => Err(error.into()),
    },
};

/// Atomics that return what they replaced, so that two processors never do the same twice.
pub const FETCHING_ATOMICS: Feature = Feature {
    name: "atomics that fetch",
    since: (5, 12),
    probe: || {
        // r0 = 0; *(u64 *)(r10 - 8) = 0; r1 = 1; r1 = atomic_fetch_add(r10 - 8, r1); exit
        const FETCH_AND_ADD: [u64; 5] = [0xb7, 0xfff8_0a7a, 0x1_0000_01b7, 0x1_fff8_1adb, 0x95];
        Ok(loads(&FETCH_AND_ADD))
    },
};

/// A device's driver tells what it can do of XDP.
pub const XDP_FEATURES: Feature = Feature {
    name: "XDP features of devices",
    since: (6, 3),
    probe: || {
        // The name of their type, among those that the kernel describes.
        const NAME: &[u8] = b"\0xdp_features_t\0";
        let types = fs::read("/sys/kernel/btf/vmlinux")?;
        Ok(types.windows(NAME.len()).any(|window| window == NAME))
    },
};

/// Several paths for one connection, which Linux has had since 5.6, and Debian's since 5.16.
pub const MPTCP: Feature = Feature {
    name: "MPTCP as Debian builds it",
    since: (5, 16),
    probe: || Ok(fs::exists("/proc/sys/net/mptcp")?),
};

/// A tenant's own nftables see what leaves its devices.
pub const NETDEV_EGRESS: Feature = Feature {
    name: "netdev egress hook of nftables",
    since: (5, 16),
    probe: || {
        let rules = "add table netdev t\nadd chain netdev t c { type filter hook egress device lo priority 0; }";
        Netns::new()?.enter(|| {
            let mut rules_file = tempfile::NamedTempFile::new()?;
            rules_file.write_all(rules.as_bytes())?;
            let mut nft = Command::new("nft");
            Ok(run(nft.arg("-f").arg(rules_file.path()), SOON)?
                .status
                .success())
        })
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

/// Whether the verifier takes a program of a socket.
fn loads(instructions: &[u64]) -> bool {
    /// `BPF_PROG_LOAD` and `BPF_PROG_TYPE_SOCKET_FILTER` (include/uapi/linux/bpf.h).
    const PROG_LOAD: libc::c_long = 5;
    const SOCKET_FILTER: u64 = 1;
    let license = c"GPL";
    // Type and number of instructions, their address, the license's, and nothing else.
    let attributes = [
        SOCKET_FILTER | (instructions.len() as u64) << 32,
        instructions.as_ptr() as u64,
        license.as_ptr() as u64,
        0,
        0,
        0,
    ];
    // SAFETY: the beginning of `union bpf_attr`, with addresses of what outlives the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_LOAD,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    match i32::try_from(fd) {
        Ok(fd) if fd >= 0 => {
            // SAFETY: the kernel just gave us this descriptor.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
            true
        }
        _ => false,
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
