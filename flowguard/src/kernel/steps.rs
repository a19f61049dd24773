//! The steps of start-up, adoption and replacement at which a test can make the daemon fail or
//! die. Only a build with the feature `failpoints` has them; no release has.

use super::KernelError;

macro_rules! steps {
    ($($(#[$doc:meta])+ $step:ident = $name:literal,)+) => {
        /// A step that was just made.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step {
            $($(#[$doc])+ $step,)+
        }

        impl Step {
            /// All of them, in the order of a replacement.
            pub const ALL: &[Self] = &[$(Self::$step,)+];

            /// The name of its failpoint.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$step => $name,)+
                }
            }
        }
    };
}

steps! {
    /// The folders are there and locked.
    Locked = "locked",
    /// What unfinished starts left is removed; after each folder.
    LeftoverRemoved = "leftover-removed",
    /// The folder of new maps is made.
    FolderMade = "folder-made",
    /// A map that stays as it is was pinned a second time; after each.
    MapShared = "map-shared",
    /// The maps that were missing are made and pinned.
    MapsMade = "maps-made",
    /// A map was copied; after each.
    MapCopied = "map-copied",
    /// The verifier took the programs.
    ProgramsLoaded = "programs-loaded",
    /// The new maps are marked as complete.
    Marked = "marked",
    /// The first maps of all are in force.
    InForce = "in-force",
    /// A program was attached to the cgroup, or replaced there; after each.
    CgroupAttached = "cgroup-attached",
    /// The programs at a device were replaced; after each.
    DeviceReplaced = "device-replaced",
    /// No program runs on old maps any more.
    ProgramsEnded = "programs-ended",
    /// What programs wrote meanwhile was copied; after each map.
    MapFollowed = "map-followed",
    /// Old counters were carried over; after each map of them.
    CountersCarried = "counters-carried",
    /// The new maps are in force.
    Exchanged = "exchanged",
    /// Old maps were removed; after each folder.
    OldRemoved = "old-removed",
    /// The kernel side is up.
    KernelReady = "kernel-ready",
    /// The policy is in force.
    PolicyInForce = "policy-in-force",
    /// Verdicts and records were taken over.
    VerdictsAdopted = "verdicts-adopted",
    /// Cgroups were taken over.
    CgroupsAdopted = "cgroups-adopted",
    /// The daemon is ready to serve.
    Ready = "ready",
    /// A device's packets lead to a source; after each.
    DeviceLed = "device-led",
    /// Programs were attached to a device, or replaced there; after each.
    DeviceAttached = "device-attached",
    /// The connect hooks leave the counting to a device; after each.
    DeviceSettled = "device-settled",
}

/// Goes on; or not, if a test wants it so: `return(error)` fails, `return(kill)` is a SIGKILL.
#[cfg(feature = "failpoints")]
pub fn reached(step: Step) -> Result<(), KernelError> {
    fail::fail_point!(step.name(), |action| {
        if action.as_deref() == Some("kill") {
            // It does not return; if it could not be sent, the error below tells.
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).ok();
        }
        Err(KernelError::Injected { step: step.name() })
    });
    Ok(())
}

/// Goes on.
#[cfg(not(feature = "failpoints"))]
pub const fn reached(_: Step) -> Result<(), KernelError> {
    Ok(())
}
