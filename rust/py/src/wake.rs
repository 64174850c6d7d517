//! A file descriptor that an event loop polls, and that any thread makes readable.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

#[cfg(target_os = "linux")]
use rustix::event::{EventfdFlags, eventfd};

/// Readable from a `set` until the next `clear`.
pub(crate) struct Wake {
    #[cfg(target_os = "linux")]
    counter: std::os::fd::OwnedFd,
    /// Where there is no eventfd: what is written to one end is read from the other.
    #[cfg(not(target_os = "linux"))]
    ends: (
        std::os::unix::net::UnixStream,
        std::os::unix::net::UnixStream,
    ),
}

#[cfg(target_os = "linux")]
impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        let counter = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { counter })
    }

    pub(crate) fn set(&self) {
        // Can fail only when the counter is at its highest, and then the descriptor is readable already.
        let _ = rustix::io::write(&self.counter, &1_u64.to_ne_bytes());
    }

    pub(crate) fn clear(&self) {
        let _ = rustix::io::read(&self.counter, &mut [0; 8]);
    }

    pub(crate) fn fileno(&self) -> RawFd {
        self.counter.as_raw_fd()
    }
}

#[cfg(not(target_os = "linux"))]
impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        let ends = std::os::unix::net::UnixStream::pair()?;
        ends.0.set_nonblocking(true)?;
        ends.1.set_nonblocking(true)?;
        Ok(Self { ends })
    }

    pub(crate) fn set(&self) {
        // Can fail only when so much waits to be read that the descriptor is readable already.
        let _ = io::Write::write(&mut &self.ends.1, &[1]);
    }

    pub(crate) fn clear(&self) {
        while matches!(io::Read::read(&mut &self.ends.0, &mut [0; 64]), Ok(64)) {}
    }

    pub(crate) fn fileno(&self) -> RawFd {
        self.ends.0.as_raw_fd()
    }
}
