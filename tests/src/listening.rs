//! A listener with a thread of its own.

use std::{
    net::TcpListener,
    os::fd::AsRawFd as _,
    thread::{self, JoinHandle},
};

use anyhow::Result;
use nix::sys::socket::{Shutdown, shutdown};

/// It accepts until it is dropped.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    /// Has a thread accept, until accepting fails because the listener is down.
    ///
    /// # Errors
    /// When there are too many descriptors.
    pub fn start(
        listener: TcpListener,
        accept: impl FnOnce(&TcpListener) + Send + 'static,
    ) -> Result<Self> {
        let accepting = listener.try_clone()?;
        Ok(Self {
            listener,
            thread: Some(thread::spawn(move || accept(&accepting))),
        })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Wakes the thread out of accept(); it fails for a listener that is already down.
        shutdown(self.listener.as_raw_fd(), Shutdown::Both).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
