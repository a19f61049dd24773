//! The programs: which there are, and where each of them goes. Loading, attaching, replacing, the
//! names of pins, `flowguard detach` and what `status` lists all go by this one table.

use aya::{
    Ebpf,
    programs::{Program, ProgramError, TcAttachType},
};
use flowguard_common::{
    names::{
        PROG_CONNECT4, PROG_CONNECT6, PROG_EDGE, PROG_EDGE_ANSWERS, PROG_GATEWAY, PROG_PEERNAME4,
        PROG_PEERNAME6, PROG_SOCK_CREATE, PROG_SOCK_RELEASE, PROG_SWEEP, PROG_UPLINK,
        PROG_UPLINK_ANSWERS,
    },
    source::{ROLE_EDGE, ROLE_GATEWAY, ROLE_UPLINK},
};

use super::KernelError;

/// What a device is to the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The host's side of a container's veth or a VM's tap.
    Edge,
    /// The host's own way to the world.
    Uplink,
    /// Where tenants' traffic enters, each told by its address.
    Gateway,
}

impl Role {
    /// The word that `status` puts before the device's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Uplink => "uplink",
            Self::Gateway => "gateway",
        }
    }

    /// What the kernel's table of devices says of it.
    pub(super) const fn number(self) -> u32 {
        match self {
            Self::Edge => ROLE_EDGE,
            Self::Uplink => ROLE_UPLINK,
            Self::Gateway => ROLE_GATEWAY,
        }
    }
}

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// At the guarded cgroup.
    Cgroup,
    /// At each device that has this role, in this direction.
    Device(Role, TcAttachType),
    /// At each gateway, as XDP.
    Gateway,
    /// Nowhere: the daemon runs it.
    Daemon,
}

/// One program. Its type is what its section in the object says.
#[derive(Debug)]
pub(super) struct Hook {
    /// Name in the object, and of its pins.
    pub(super) program: &'static str,
    /// Where it goes.
    pub(super) site: Site,
    /// Whether there is no guard without it. Otherwise a kernel that refuses it is guarded as well
    /// as can be.
    pub(super) required: bool,
}

const fn required(program: &'static str, site: Site) -> Hook {
    Hook {
        program,
        site,
        required: true,
    }
}

const fn optional(program: &'static str, site: Site) -> Hook {
    Hook {
        program,
        site,
        required: false,
    }
}

/// All of them, in the order in which they are attached and listed: who made a socket is noted
/// before anybody asks, and who answers is known before anybody is sent anywhere.
pub(super) const HOOKS: [Hook; 12] = [
    required(PROG_SOCK_CREATE, Site::Cgroup),
    optional(PROG_SOCK_RELEASE, Site::Cgroup),
    optional(PROG_PEERNAME4, Site::Cgroup),
    optional(PROG_PEERNAME6, Site::Cgroup),
    required(PROG_CONNECT4, Site::Cgroup),
    required(PROG_CONNECT6, Site::Cgroup),
    required(PROG_EDGE, Site::Device(Role::Edge, TcAttachType::Ingress)),
    optional(
        PROG_EDGE_ANSWERS,
        Site::Device(Role::Edge, TcAttachType::Egress),
    ),
    optional(
        PROG_UPLINK,
        Site::Device(Role::Uplink, TcAttachType::Egress),
    ),
    optional(
        PROG_UPLINK_ANSWERS,
        Site::Device(Role::Uplink, TcAttachType::Ingress),
    ),
    optional(PROG_GATEWAY, Site::Gateway),
    optional(PROG_SWEEP, Site::Daemon),
];

/// Programs of TC at devices, with their direction.
pub(super) fn at_devices() -> impl Iterator<Item = (&'static Hook, Role, TcAttachType)> {
    HOOKS.iter().filter_map(|hook| match hook.site {
        Site::Device(role, way) => Some((hook, role, way)),
        Site::Cgroup | Site::Gateway | Site::Daemon => None,
    })
}

/// A link pinned as `PROGRAM-IFINDEX`: its program, if it is one of ours, and its device.
pub(super) fn device_link(pin: &str) -> Option<(&str, u32)> {
    let (program, ifindex) = pin.rsplit_once('-')?;
    Some((program, ifindex.parse().ok()?))
}

/// Hands all programs to the verifier; those that it took. All are loaded before any is attached:
/// a kernel that refuses one leaves everything as it was.
pub(super) fn load(object: &mut Ebpf) -> Result<Vec<&'static Hook>, KernelError> {
    let mut loaded = Vec::new();
    for hook in &HOOKS {
        let program = program(object, hook.program)?;
        match load_one(program) {
            Ok(()) => {
                let instructions = program
                    .info()
                    .ok()
                    .and_then(|info| info.verified_instruction_count());
                tracing::debug!(name = hook.program, instructions, "verified");
                loaded.push(hook);
            }
            Err(error) if !hook.required => {
                tracing::warn!(
                    program = hook.program,
                    %error,
                    "this kernel refuses a program that the guard can do without"
                );
            }
            Err(error) => return Err(refused(hook.program)(error)),
        }
    }
    Ok(loaded)
}

/// Hands one program to the verifier.
pub(super) fn load_one(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        Program::Xdp(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

/// A program of the object.
pub(super) fn program<'object>(
    object: &'object mut Ebpf,
    name: &'static str,
) -> Result<&'object mut Program, KernelError> {
    object
        .program_mut(name)
        .ok_or_else(|| ProgramError::IOError(std::io::ErrorKind::NotFound.into()))
        .map_err(refused(name))
}

/// Says which program an error is about.
pub(super) fn refused(program: &'static str) -> impl Fn(ProgramError) -> KernelError + Copy {
    move |source| KernelError::Program {
        program,
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_is_behind_the_last_dash() {
        assert_eq!(device_link("edge-7"), Some(("edge", 7)));
        assert_eq!(device_link("edge-answers-7"), Some(("edge-answers", 7)));
        assert_eq!(device_link("connect4"), None);
        assert_eq!(device_link("edge-x"), None);
    }
}
