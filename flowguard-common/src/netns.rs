//! How the daemon learns the cookie of a network namespace where the kernel tells it to programs
//! only (Linux 5.7 to 5.13).

/// A question and its answer, in the only entry of a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NetnsProbe {
    /// The thread that asks, by calling `connect()`.
    pub thread: u64,
    /// The cookie of the namespace in which it did; 0: it has not yet.
    pub cookie: u64,
}

const _: () = assert!(size_of::<NetnsProbe>() == 16);
