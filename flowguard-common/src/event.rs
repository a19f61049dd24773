//! What the kernel tells the daemon about single attempts: evidence, never the count itself.

use crate::addr::Addr;

/// No source: nobody registered it yet.
pub const NO_SOURCE: u32 = u32::MAX;

/// Which hook saw the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hook {
    /// `cgroup/connect4`.
    Connect4 = 0,
    /// `cgroup/connect6`.
    Connect6 = 1,
    /// TC ingress at the host side of a container's veth or a VM's tap.
    Edge = 2,
}

impl Hook {
    /// The hook of a number found in an event.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Connect4),
            1 => Some(Self::Connect6),
            2 => Some(Self::Edge),
            _ => None,
        }
    }
}

/// One attempt, as seen by a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub time_ns: u64,
    /// Cgroup of the task; 0 at the edge.
    pub cgroup: u64,
    /// Network namespace cookie of the socket; 0 at the edge.
    pub netns: u64,
    /// Source id, or [`NO_SOURCE`].
    pub source: u32,
    /// Thread group id of the task; 0 at the edge.
    pub pid: u32,
    /// Real uid of the task, in the initial user namespace; 0 at the edge.
    pub uid: u32,
    /// Interface the packet came in on; 0 for connect hooks.
    pub ifindex: u32,
    /// Destination.
    pub dst: Addr,
    /// Destination port, host order.
    pub dport: u16,
    /// [`crate::class::Class`].
    pub class: u8,
    /// [`crate::verdict::Decision`].
    pub decision: u8,
    /// [`Hook`].
    pub hook: u8,
    /// Zero.
    pub pad: [u8; 3],
    /// Name of the task, NUL-padded; empty at the edge.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<Event>() == 80 && align_of::<Event>() == 8);
