//! What can go wrong between us and the kernel.

use std::{io, path::PathBuf};

use flowguard_common::gateway::GATEWAY_SLOTS;

use super::Full;

/// An error from the kernel side.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The BPF file system could not be mounted.
    #[error(
        "cannot mount the BPF file system at {}; mount it with `mount -t bpf bpf {}` and start again",
        path.display(),
        path.display()
    )]
    BpfFs {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: nix::Error,
    },
    /// The pins cannot be where they are configured to be.
    #[error(
        "`paths.pins` is {}, which is on no BPF file system: set it to a folder below /sys/fs/bpf",
        path.display()
    )]
    NotBpfFs {
        /// Where they are to be.
        path: PathBuf,
    },
    /// Another daemon has the guard.
    #[error(
        "another flowguard runs the guard pinned at {}: stop it first, or give this one its own \
         `paths.pins`",
        path.display()
    )]
    Locked {
        /// Where it is pinned.
        path: PathBuf,
    },
    /// Another version of flowguard is attached.
    #[error(
        "the guard pinned at {} speaks contract {found}, this binary speaks {ours}; it goes on \
         counting and enforcing, and nothing was touched. `flowguard run --replace` removes it \
         and starts afresh: counts begin anew, verdicts on record come back",
        path.display()
    )]
    Contract {
        /// Where it is pinned.
        path: PathBuf,
        /// What stands there.
        found: u32,
        /// What this binary knows.
        ours: u32,
    },
    /// Nothing is pinned there.
    #[error("no guard is attached: nothing is pinned at {}", path.display())]
    NotAttached {
        /// Where nothing is.
        path: PathBuf,
    },
    /// The programs were refused.
    #[error(
        "the kernel refuses the program `{program}`; `flowguard doctor` tells what this kernel lacks"
    )]
    Program {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        source: Box<aya::programs::ProgramError>,
    },
    /// The object could not be loaded.
    #[error("cannot load the BPF programs; `flowguard doctor` tells what this kernel lacks")]
    Load(#[source] Box<aya::EbpfError>),
    /// A map could not be read or written.
    #[error("cannot use the map {map}")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: Box<aya::maps::MapError>,
    },
    /// The same, of a map that may be of another layout.
    #[error("cannot use the map {map}")]
    RawMap {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The object lacks a map that the table of maps has.
    #[error("this flowguard has no map {map}: it was not built as a whole, build it anew")]
    NoSuchMap {
        /// Its name.
        map: &'static str,
    },
    /// The object cannot be read.
    #[error("the BPF programs in this flowguard cannot be read: {reason}; build it anew")]
    Object {
        /// Why.
        reason: String,
    },
    /// A map could not be pinned.
    #[error("cannot pin the map {map}")]
    Pin {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: Box<aya::pin::PinError>,
    },
    /// It is not known whether old programs still run.
    #[error(
        "cannot wait for the end of the programs that were replaced; the guard goes on counting and \
         enforcing, and the next start tries again"
    )]
    Wait {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A daemon is replacing maps.
    #[error("a daemon is just replacing the maps at {}: try again", path.display())]
    Unsettled {
        /// Where.
        path: PathBuf,
    },
    /// Counters of other classes.
    #[error(
        "the attached guard counts in {found} classes and this flowguard in {}, so its counts cannot \
         be taken over. It goes on counting and enforcing, and nothing was touched. `flowguard \
         detach` removes it with its counts; then start this one",
        flowguard_common::class::CLASSES
    )]
    Classes {
        /// How many.
        found: u32,
    },
    /// A map that is too different.
    #[error(
        "the attached guard's map {map} is of another kind than this flowguard's and cannot be \
         taken over. The guard goes on counting and enforcing, and nothing was touched. `flowguard \
         detach` removes it with its counts; then start this one"
    )]
    Incomparable {
        /// Its name.
        map: &'static str,
    },
    /// A test wants it so.
    #[cfg(feature = "failpoints")]
    #[error("made to fail after the step `{step}`")]
    Injected {
        /// Which.
        step: &'static str,
    },
    /// A program could not be attached.
    #[error("cannot attach `{program}` to {target}")]
    Attach {
        /// Its name.
        program: &'static str,
        /// To what.
        target: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file of ours could not be handled.
    #[error("cannot {action} {}", path.display())]
    File {
        /// Doing what.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A table has no room.
    #[error("{0}")]
    Full(Full),
    /// The table of attempts has too few parts left for a gateway.
    #[error(
        "there is no room for a gateway, which takes that of {GATEWAY_SLOTS} interfaces. Raise \
         `kernel.max_edges` and restart the daemon: counts and verdicts stay"
    )]
    NoRoomForGateway,
    /// The kernel refused the gateways' program when it was loaded.
    #[error(
        "this kernel refuses the program for gateways (the log of the daemon's start says why), so \
         tenants cannot be told by their addresses here: empty `[gateway] interfaces`, or use \
         another kernel"
    )]
    NoGateway,
    /// A device has an XDP program that is not ours.
    #[error(
        "{device} runs another XDP program, which was left alone, and a device runs one only: stop \
         what loaded it (`ip link set dev {device} xdp off` removes most), or take {device} out of \
         `[gateway] interfaces`"
    )]
    XdpTaken {
        /// Name of the device.
        device: String,
    },
    /// More trusted destinations than the kernel map holds.
    #[error(
        "too many trusted destinations: {count}, and {capacity} fit; the old policy stays in force"
    )]
    TooManyTrusted {
        /// How many there are.
        count: usize,
        /// How many fit.
        capacity: usize,
    },
}

impl KernelError {
    /// Wraps an error of a map.
    pub(super) fn map(map: &'static str) -> impl FnOnce(aya::maps::MapError) -> Self {
        move |source| Self::Map {
            map,
            source: Box::new(source),
        }
    }

    /// Wraps an error of a map that may be of another layout.
    pub(super) fn raw(map: &'static str, source: io::Error) -> Self {
        Self::RawMap { map, source }
    }
}
