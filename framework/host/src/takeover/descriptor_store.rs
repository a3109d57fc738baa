//! The descriptor store: descriptors of unlinked files, which nothing else would keep alive while workers
//! change.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// How long a supervisor may take for one message.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long messages wait while others come: far fewer than fit a socket.
const BURST: Duration = Duration::from_millis(2);

/// The worker's side: a message with a descriptor keeps it, one without gives it back.
///
/// What a busy supervisor does not take at once is waited for, as until then a worker's death would lose
/// it. A supervisor that takes nothing for [`PATIENCE`] is stopped: from then on messages wait in this
/// process, and calls go on.
pub(crate) struct DescriptorSender {
    socket: Arc<OwnedFd>,
    state: Arc<Mutex<Sending>>,
}

struct Sending {
    kept: HashSet<u64>,
    waiting: VecDeque<(u64, Option<OwnedFd>)>,
    /// A thread sends what waits, and nothing may overtake that.
    is_late: bool,
}

impl DescriptorSender {
    /// `kept` are the numbers of the inodes that are kept already.
    pub(crate) fn new(socket: OwnedFd, kept: impl IntoIterator<Item = u64>) -> Self {
        // Without the limit a stopped supervisor would stop callers, too.
        if let Err(errno) = set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE)) {
            log::warn!("the descriptor store: {errno}");
        }
        let kept = kept.into_iter().collect();
        let state = Sending { kept, waiting: VecDeque::new(), is_late: false };
        Self { socket: Arc::new(socket), state: Arc::new(Mutex::new(state)) }
    }

    /// Keeps an inode alive beyond the worker's death.
    pub(crate) fn keep(&self, ino: u64, descriptor: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if !state.kept.contains(&ino) {
            self.send(&mut state, ino, Some(descriptor))?;
            state.kept.insert(ino);
        }
        Ok(())
    }

    /// Lets go of it; true if it was kept.
    pub(crate) fn release(&self, ino: u64) -> bool {
        let mut state = self.state.lock();
        let known = state.kept.remove(&ino);
        // If the supervisor is gone, so is what it kept.
        if known && let Err(errno) = self.send(&mut state, ino, None) {
            log::debug!("inode {ino}: {errno}");
        }
        known
    }

    fn send(
        &self,
        state: &mut Sending,
        ino: u64,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), Errno> {
        if !state.is_late {
            match send(&self.socket, ino, descriptor) {
                // Full all the time, or the kernel's limit of descriptors under way is reached.
                Err(Errno::AGAIN | Errno::TOOMANYREFS) => {}
                outcome => return outcome,
            }
        }
        let copy = descriptor.map(|descriptor| rustix::io::fcntl_dupfd_cloexec(descriptor, 0));
        state.waiting.push_back((ino, copy.transpose()?));
        if !std::mem::replace(&mut state.is_late, true) {
            let (socket, state) = (Arc::clone(&self.socket), Arc::clone(&self.state));
            let send = move || send_waiting(&socket, &state);
            let thread = std::thread::Builder::new().name("descriptors".to_owned()).spawn(send);
            thread.map_err(|_| Errno::AGAIN)?;
        }
        Ok(())
    }
}

/// Sends what waits, as long as there is something.
fn send_waiting(socket: &OwnedFd, state: &Mutex<Sending>) {
    loop {
        let next = {
            let mut state = state.lock();
            let next = state.waiting.pop_front();
            state.is_late = next.is_some();
            next
        };
        let Some((ino, descriptor)) = next else { return };
        loop {
            match send(socket, ino, descriptor.as_ref().map(AsFd::as_fd)) {
                Err(Errno::AGAIN) => {}
                Err(Errno::TOOMANYREFS) => std::thread::sleep(Duration::from_millis(10)),
                Err(errno) => break log::debug!("inode {ino}: {errno}"),
                Ok(()) => break,
            }
        }
    }
}

/// The supervisor's side.
pub(crate) struct DescriptorStore {
    kept: Arc<Mutex<HashMap<u64, OwnedFd>>>,
    /// Descriptors that may be kept.
    room: usize,
    thread: Option<JoinHandle<()>>,
}

impl DescriptorStore {
    /// Keeps at most half as many descriptors as a process may have, for the next worker needs them as
    /// well, and others beside them.
    pub(crate) fn new(limit: u64) -> Self {
        let room = usize::try_from(limit / 2).unwrap_or(usize::MAX);
        Self { kept: Arc::default(), room, thread: None }
    }

    /// Makes the way for another worker, after all that the last one has sent is here; returns its
    /// end.
    pub(crate) fn open(&mut self) -> Result<OwnedFd, Errno> {
        self.settle();
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let mut keeping = Keeping { kept: Arc::clone(&self.kept), room: self.room, warned: false };
        let serve = move || while keeping.take_burst(&ours).is_ok() {};
        let thread = std::thread::Builder::new().name("descriptors".to_owned()).spawn(serve);
        self.thread = Some(thread.map_err(|_| Errno::AGAIN)?);
        Ok(theirs)
    }

    /// Calls `take` for everything that is kept.
    pub(crate) fn each<E>(
        &self,
        mut take: impl FnMut(u64, BorrowedFd<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.kept.lock().iter().try_for_each(|(ino, descriptor)| take(*ino, descriptor.as_fd()))
    }

    /// How many descriptors are kept.
    pub(crate) fn count(&self) -> usize {
        self.kept.lock().len()
    }

    /// The last worker is dead: its end of the socket is closed, and the thread ends.
    fn settle(&mut self) {
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "nothing in it panics");
        }
    }
}

/// What a thread of the supervisor does with messages.
struct Keeping {
    kept: Arc<Mutex<HashMap<u64, OwnedFd>>>,
    room: usize,
    warned: bool,
}

impl Keeping {
    /// Waits for a message, and takes those that follow. Where many files are deleted, the worker would wake this
    /// thread with each of them; what it has sent is safe in the socket for a moment. An error once the other end is
    /// closed, and nothing is left.
    fn take_burst(&mut self, socket: &OwnedFd) -> Result<(), Errno> {
        let mut is_more = true;
        self.take(receive(socket, RecvFlags::empty())?);
        while is_more {
            std::thread::sleep(BURST);
            is_more = false;
            loop {
                match receive(socket, RecvFlags::DONTWAIT) {
                    Err(Errno::AGAIN) => break,
                    message => self.take(message?),
                }
                is_more = true;
            }
        }
        Ok(())
    }

    fn take(&mut self, (ino, descriptor): (u64, Option<OwnedFd>)) {
        let mut kept = self.kept.lock();
        let is_full = kept.len() >= self.room && descriptor.is_some();
        let before = match descriptor {
            Some(descriptor) if !is_full => kept.insert(ino, descriptor),
            Some(descriptor) => Some(descriptor),
            None => kept.remove(&ino),
        };
        if is_full && !std::mem::replace(&mut self.warned, true) {
            log::warn!(
                "more than {} unlinked files are in use, and those beyond would not survive this worker: raise the \
                 limit of open files (ulimit -n)",
                self.room
            );
        }
        drop(kept);
        // Closing the last descriptor of a deleted file can be slow.
        drop(before);
    }
}

/// Sends a number, and a descriptor with it.
pub(super) fn send(
    socket: &OwnedFd,
    ino: u64,
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.map(|descriptor| [descriptor]);
    if let Some(descriptors) = &descriptors {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    loop {
        let bytes = ino.to_ne_bytes();
        match sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            sent => return sent.map(drop),
        }
    }
}

/// ECONNRESET when the other end is closed.
fn receive(socket: &OwnedFd, flags: RecvFlags) -> Result<(u64, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 8];
    let received = loop {
        let buffers = &mut [IoSliceMut::new(&mut bytes)];
        match recvmsg(socket, buffers, &mut ancillary, flags | RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    if received.bytes != bytes.len() {
        return Err(Errno::CONNRESET);
    }
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((u64::from_ne_bytes(bytes), descriptor))
}
