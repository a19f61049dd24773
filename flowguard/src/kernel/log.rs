//! What the programs say for debugging (aya-log): each judged attempt, with `FLOWGUARD_LOG=debug`.
//!
//! The level is a constant to the verifier, which removes the log statements of a quiet guard. A
//! daemon that replaces the programs replaces their level with them.

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

/// The level for programs that say nothing.
const SILENT: u8 = 0;

/// The level the programs are loaded with.
pub(super) fn level() -> u8 {
    if tracing::enabled!(tracing::Level::DEBUG) {
        aya_log::Level::Debug as u8
    } else {
        SILENT
    }
}

/// Carries what the programs say into the daemon's log.
pub struct ProgramLog(AsyncFd<EbpfLogger<&'static dyn log::Log>>);

impl ProgramLog {
    /// The log of these programs; none if they are silent. A log that cannot be read costs
    /// debugging, not protection.
    pub(super) fn open(object: &mut Ebpf) -> Option<Self> {
        if level() == SILENT {
            return None;
        }
        let logger = EbpfLogger::init(object)
            .inspect_err(|error| tracing::warn!(%error, "the programs' log cannot be read"))
            .ok()?;
        // SAFETY: the logger owns its descriptor, which stays the same until it is dropped.
        unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }
            .inspect_err(|error| tracing::warn!(%error, "the programs' log cannot be polled"))
            .ok()
            .map(Self)
    }

    /// Goes on for as long as the daemon does.
    pub async fn run(mut self) {
        while let Ok(mut guard) = self.0.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    }
}
