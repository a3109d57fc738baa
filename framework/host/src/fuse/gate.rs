//! Loops begin together, each with memory for the longest request.
//!
//! The kernel copies a request straight into a loop's buffer. When it has to find memory for that, and the process is
//! killed meanwhile, it fails the request, which the next worker would have been sent again otherwise. So no loop
//! reads from the device before its buffer has its memory: a session begins on a socket, from which each loop reads one
//! message of our own, and the last of them puts the device in the socket's place.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use fuser::{INodeNo, Request};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::io::write;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::sys::descriptors::replace;
use crate::sys::memory::populate;

/// The message is a forget, which has no answer, of an inode that the kernel has no number for.
pub(super) const NOBODY: INodeNo = INodeNo(0);
const FORGET: u32 = 2;
/// `struct fuse_in_header` and `struct fuse_forget_in`.
const FORGET_LEN: usize = 40 + 8;

/// What the loops of one session pass before their first request.
pub(super) struct Gate {
    /// The longest request: the longest write, and what goes before it.
    longest: usize,
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Closed(Closed),
    Open,
    GivenUp(io::Error),
}

struct Closed {
    /// The session's descriptor, which its loops keep open.
    session: RawFd,
    device: OwnedFd,
    /// The other end of what the session reads from.
    socket: OwnedFd,
    /// Loops that have been sent their message, those that have their memory, and how many there will be.
    called: usize,
    ready: usize,
    loops: usize,
}

impl Gate {
    /// For sessions whose writes have at most so many bytes.
    pub(super) fn new(most_write: u32) -> Self {
        let longest = most_write as usize + 4096;
        Self { longest, state: Mutex::new(State::Open), changed: Condvar::new() }
    }

    /// Before so many loops are started on this session, which reads from the device.
    pub(super) fn close(&self, session: &impl AsFd, loops: usize) -> io::Result<()> {
        let session = session.as_fd();
        let device = session.try_clone_to_owned()?;
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        replace(session.as_raw_fd(), theirs.as_fd())?;
        let session = session.as_raw_fd();
        let mut closed = Closed { session, device, socket, called: 0, ready: 0, loops };
        closed.call()?;
        *self.state.lock() = State::Closed(closed);
        Ok(())
    }

    /// Called by each loop with the message, which is where its buffer is.
    pub(super) fn pass(&self, message: &Request) {
        // One message at a time is in the socket, so that the smallest holds it.
        if let State::Closed(closed) = &mut *self.state.lock() {
            or_end(closed.call());
        }
        populate(std::ptr::from_ref(message).cast(), self.longest);
        let mut state = self.state.lock();
        if let State::Closed(closed) = &mut *state {
            closed.ready += 1;
            if closed.ready == closed.loops {
                or_end(replace(closed.session, closed.device.as_fd()));
                *state = State::Open;
                self.changed.notify_all();
            }
        }
        // The loops wait for each other, so that none takes two.
        self.wait_while_closed(&mut state);
    }

    /// The loops cannot all be started, for this reason: those that were find that their socket has ended, and end.
    pub(super) fn give_up(&self, error: io::Error) {
        let mut state = self.state.lock();
        if matches!(*state, State::Closed(_)) {
            *state = State::GivenUp(error);
            self.changed.notify_all();
        }
    }

    /// Returns when all loops are through.
    pub(super) fn wait(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        self.wait_while_closed(&mut state);
        match &*state {
            State::GivenUp(error) => Err(io::Error::new(error.kind(), error.to_string())),
            _ => Ok(()),
        }
    }

    fn wait_while_closed(&self, state: &mut MutexGuard<'_, State>) {
        while matches!(**state, State::Closed(_)) {
            self.changed.wait(state);
        }
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
        if self.called == self.loops {
            return Ok(());
        }
        self.called += 1;
        let mut message = [0; FORGET_LEN];
        message[..4].copy_from_slice(&(FORGET_LEN as u32).to_ne_bytes());
        message[4..8].copy_from_slice(&FORGET.to_ne_bytes());
        write(&self.socket, &message).map(drop)
    }
}
