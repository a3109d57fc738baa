//! Loops begin together, each with memory for the longest request.
//!
//! The kernel copies a request straight into a loop's buffer. When it has to find memory for that, and the process is
//! killed meanwhile, it fails the request, which the next worker would have been sent again otherwise. So no loop
//! reads from the device before its buffer has its memory: a session begins on a socket, from which each loop reads one
//! message of our own, and the last of them puts the device in the socket's place.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Barrier;

use fuser::{INodeNo, Request};
use parking_lot::Mutex;
use rustix::io::write;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::sys::descriptors::replace;
use crate::sys::memory::populate;

/// The message is a forget, which has no answer, of an inode that the kernel has no number for.
pub(super) const NOBODY: INodeNo = INodeNo(0);
const FORGET: u32 = 2;
/// `struct fuse_in_header` and `struct fuse_forget_in`.
const FORGET_LEN: usize = 40 + 8;
/// The longest request: a write of `MOST_WRITE`, and what goes before it.
const LONGEST: usize = super::negotiate::MOST_WRITE as usize + 4096;

/// What the loops of one session pass before their first request.
pub(super) struct Gate {
    loops: Barrier,
    closed: Mutex<Option<Closed>>,
}

struct Closed {
    /// The session's descriptor, which it keeps open.
    session: RawFd,
    device: OwnedFd,
    /// The other end of what the session reads from.
    socket: OwnedFd,
    /// Loops that have no message yet.
    left: usize,
}

impl Gate {
    pub(super) fn new(loops: usize) -> Self {
        Self { loops: Barrier::new(loops), closed: Mutex::new(None) }
    }

    /// Before so many loops are started on this session, which reads from the device.
    pub(super) fn close(&self, session: &impl AsFd, loops: usize) -> std::io::Result<()> {
        let session = session.as_fd();
        let device = session.try_clone_to_owned()?;
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        replace(session.as_raw_fd(), theirs.as_fd())?;
        let mut closed = Closed { session: session.as_raw_fd(), device, socket, left: loops };
        closed.call()?;
        *self.closed.lock() = Some(closed);
        Ok(())
    }

    /// Called by each loop with the message, which is where its buffer is.
    pub(super) fn pass(&self, message: &Request) {
        // One message at a time is in the socket, so that the smallest holds it.
        let Some(called) = self.closed.lock().as_mut().map(Closed::call) else { return };
        or_end(called);
        populate(std::ptr::from_ref(message).cast(), LONGEST);
        // The loops wait for each other, so that none takes two.
        if self.loops.wait().is_leader() {
            or_end(self.closed.lock().take().map_or(Ok(()), Closed::open));
        }
        self.loops.wait();
    }
}

/// The loops cannot go on without each other; another worker may.
fn or_end(done: rustix::io::Result<()>) {
    if let Err(error) = done {
        log::error!("no request can be read: {error}");
        crate::sys::process::exit_now(1);
    }
}

impl Closed {
    /// Sends the next loop its message.
    fn call(&mut self) -> rustix::io::Result<()> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(()) };
        self.left = left;
        let mut message = [0; FORGET_LEN];
        message[..4].copy_from_slice(&(FORGET_LEN as u32).to_ne_bytes());
        message[4..8].copy_from_slice(&FORGET.to_ne_bytes());
        write(&self.socket, &message).map(drop)
    }

    fn open(self) -> rustix::io::Result<()> {
        replace(self.session, self.device.as_fd())
    }
}
