//! How a pinned link ends, whatever it attaches to.

use std::{os::fd::AsFd as _, path::Path};

use super::{KernelError, pins::unpin, sys};

/// Takes what a pinned link attached off, at once, and removes the pin; none there is well.
///
/// The end of its last pin would end a link too, but some time after: the kernel leaves it to a work
/// queue (`bpf_link_put` in kernel/bpf/syscall.c), and it waits for whoever else has the link open.
///
/// # Errors
///
/// The pin cannot be removed.
pub(super) fn end(pin: &Path) -> Result<(), KernelError> {
    if pin.exists() {
        let detached = sys::obj_get(pin).and_then(|link| sys::link_detach(link.as_fd()));
        if let Err(error) = detached {
            // Of a device that is gone; the pin's end is the link's end in any case.
            tracing::debug!(%error, pin = %pin.display(), "detaching");
        }
    }
    unpin(pin)
}
