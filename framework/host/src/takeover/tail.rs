//! Where the log grows: a window of the file in memory, so that an entry takes no system call.

use std::os::fd::OwnedFd;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::write_all;
use crate::sys::shared::Shared;

/// Bytes that are mapped at a time.
const WINDOW: u64 = 256 << 10;
/// A multiple of every page size.
const GRAIN: u64 = 64 << 10;
/// Longer entries go past the window, so that one that begins in its first grain always fits.
const LONGEST: u64 = WINDOW - GRAIN;

/// The end of the log. What is stored in the window is in the file at once, for whoever opens it next.
#[derive(Default)]
pub(super) struct Tail(Option<Window>);

struct Window {
    memory: Shared,
    start: u64,
}

impl Tail {
    /// Writes bytes at an offset of the file.
    pub(super) fn write(&mut self, file: &OwnedFd, bytes: &[u8], at: u64) -> Result<(), Errno> {
        if bytes.len() as u64 > LONGEST {
            return write_all(file, bytes, at);
        }
        let end = at + bytes.len() as u64;
        let fits = |window: &Window| window.start <= at && end <= window.start + WINDOW;
        if !self.0.as_ref().is_some_and(fits) {
            self.0 = None;
            self.0 = Some(Window::open(file, at / GRAIN * GRAIN)?);
        }
        if let Some(window) = &mut self.0 {
            window.memory.put((at - window.start) as usize, bytes);
        }
        Ok(())
    }
}

impl Window {
    /// Takes the memory before it is used: a store could not say that there is none.
    fn open(file: &OwnedFd, start: u64) -> Result<Self, Errno> {
        fallocate(file, FallocateFlags::empty(), start, WINDOW)?;
        let memory = Shared::writable(file, start, WINDOW as usize);
        let memory =
            memory.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOMEM))?;
        Ok(Self { memory, start })
    }
}
