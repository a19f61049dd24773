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
    /// TC egress at the host's way to the world: a stray.
    Uplink = 3,
    /// XDP where tenants' traffic enters.
    Gateway = 4,
}

impl Hook {
    /// The hook of a number found in an event.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Connect4),
            1 => Some(Self::Connect6),
            2 => Some(Self::Edge),
            3 => Some(Self::Uplink),
            4 => Some(Self::Gateway),
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
    /// Cgroup of the task; 0 where packets are seen.
    pub cgroup: u64,
    /// The identity that decided, or, if nobody is registered, that should: uid, namespace cookie, or
    /// prefix, as `key` says; 0 at an edge and for strays.
    pub id: u64,
    /// Source id, or [`NO_SOURCE`].
    pub source: u32,
    /// Thread group id of the task; 0 where packets are seen.
    pub pid: u32,
    /// Real uid of the task, in the initial user namespace; of a stray the uid of its socket, as the
    /// socket's network namespace knows it; else 0.
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
    /// `KEY_*` (see [`crate::source`]): what `id` is.
    pub key: u32,
    /// Zero.
    pub pad2: u32,
    /// Name of the task, NUL-padded; empty where packets are seen.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<Event>() == 88 && align_of::<Event>() == 8);

/// Most bytes of a reply's text that are passed on.
pub const REPLY_TEXT: usize = 200;

/// Room for it: a power of two, which lets the verifier see that no more is written.
pub const REPLY_ROOM: usize = 256;

/// A reply of a mail server that says no, 4xx or 5xx, with its first line. Told from an [`Event`]
/// by its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ReplyEvent {
    /// `CLOCK_BOOTTIME`, nanoseconds.
    pub time_ns: u64,
    /// Source id.
    pub source: u32,
    /// Interface the packet passed.
    pub ifindex: u32,
    /// The mail server.
    pub server: Addr,
    /// Its port, host order.
    pub port: u16,
    /// Bytes of `text` that are set.
    pub len: u16,
    /// [`crate::class::Class`].
    pub class: u8,
    /// Zero.
    pub pad: [u8; 3],
    /// The line and what follows it in the packet: whoever reads it cuts at the end of the line.
    pub text: [u8; REPLY_ROOM],
    /// The address that the reply was sent to: who sends mail, as this hook sees it. Zero in what older
    /// programs tell.
    pub client: Addr,
}

const _: () = assert!(size_of::<ReplyEvent>() == 312 && align_of::<ReplyEvent>() == 8);
