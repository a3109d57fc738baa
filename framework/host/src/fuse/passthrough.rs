//! Opens that the kernel serves from the lower file by itself: `profile=data`.
//!
//! The kernel serves all opens of a file at one time from the lower file, or none, and by one number of the lower
//! file. Opens are noted for the next worker before anybody is told of them: handles are the numbers of the
//! requests, so an open that is sent once more gets the answer that it may have had.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fuser::{FileHandle, FopenFlags, INodeNo, ReplyOpen, Request};
use hsci_extension::{FileSystem as _, Ino, OpenFlags, Opened, Result};
use parking_lot::{Mutex, MutexGuard};
use rustix::io::Errno;

use super::adapter::Adapter;
use super::operations::Operation;
use super::sys;
use crate::lower::{LowerTree, Opens};
use crate::sandbox::broker;
use crate::takeover::number;

const STRIPES: usize = 64;

/// The opens of one mount.
pub(super) struct Passthrough {
    device: OwnedFd,
    tree: Arc<LowerTree>,
    /// The kernel can do it. Once it refuses, it is not asked again.
    possible: AtomicBool,
    /// Locked while something becomes of the opens of a file. Holds the files whose content in the kernel's page cache,
    /// if there is any, is what the lower file has.
    fresh: [Mutex<HashSet<Ino>>; STRIPES],
}

/// How an open is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    /// By the kernel, from the lower file of this number.
    Passed(u32),
    /// By this host.
    Cached {
        /// The pages that the kernel has are those of the file.
        keep_cache: bool,
    },
}

impl Passthrough {
    pub(super) fn new(device: OwnedFd, tree: Arc<LowerTree>) -> Self {
        let possible = AtomicBool::new(true);
        let fresh = std::array::from_fn(|_| Mutex::default());
        let opens = Self { device, tree, possible, fresh };
        for ino in opens.tree.with_opens() {
            if let Err(error) = opens.tree.retain(ino) {
                log::error!("inode {}: its opens are lost: {error}", ino.0);
            }
            opens.change(ino, |noted, _| opens.close(ino, noted));
        }
        opens
    }

    fn fresh(&self, ino: Ino) -> MutexGuard<'_, HashSet<Ino>> {
        self.fresh[ino.0 as usize % STRIPES].lock()
    }

    /// Changes what is noted of the opens of a file. As long as there are any, its inode is kept: the kernel may
    /// forget it before the end of the last one has come here.
    fn change<T>(&self, ino: Ino, change: impl FnOnce(&mut Opens, &mut HashSet<Ino>) -> T) -> T {
        let mut fresh = self.fresh(ino);
        let before = self.tree.opens(ino);
        let mut opens = before.clone();
        let changed = change(&mut opens, &mut fresh);
        if opens == before || (before.is_none() && self.tree.retain(ino).is_err()) {
            return changed;
        }
        self.tree.set_opens(ino, &opens);
        if opens.is_none() {
            self.tree.forget(ino, 1);
        }
        changed
    }

    /// The kernel forgets a file, and what it has cached of it.
    pub(super) fn forget(&self, ino: Ino) {
        self.fresh(ino).remove(&ino);
    }

    /// Opens a file under a handle. `ask` tells the layers, which may find that the kernel can serve it; `permitted` says
    /// whether that would leave out nothing that somebody has to see.
    fn open(
        &self,
        ino: Ino,
        handle: u64,
        permitted: bool,
        ask: impl FnOnce() -> Result<Opened>,
    ) -> Result<Served> {
        let known = self.change(ino, |opens, _| {
            if opens.passed.contains(handle) {
                return opens.backing.map(Served::Passed);
            }
            // From now on nobody gives the file another form.
            opens.starting.insert(handle);
            None
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let asked = ask();
        self.change(ino, |opens, fresh| {
            opens.starting.remove(handle);
            let opened = asked?;
            let wanted = opened.passthrough && permitted && opens.cached.is_empty();
            if opens.backing.is_none() && wanted {
                opens.backing = self.backing(ino);
            }
            if let Some(number) = opens.backing {
                fresh.remove(&ino);
                opens.passed.insert(handle);
                return Ok(Served::Passed(number));
            }
            let keep_cache = !fresh.insert(ino);
            opens.cached.insert(handle);
            Ok(Served::Cached { keep_cache })
        })
    }

    /// An open has ended.
    pub(super) fn release(&self, ino: Ino, handle: u64) {
        let is_last = self.change(ino, |opens, _| {
            opens.cached.remove(handle);
            opens.starting.remove(handle);
            if !opens.passed.remove(handle) || !opens.passed.is_empty() {
                return false;
            }
            self.close(ino, opens);
            opens.closing = opens.backing.take();
            true
        });
        // What is noted first no open is answered with any more.
        if is_last {
            self.change(ino, |opens, _| self.close(ino, opens));
        }
    }

    /// Tells the kernel that a number of before is not needed any more.
    fn close(&self, ino: Ino, opens: &mut Opens) {
        let Some(number) = opens.closing.take() else { return };
        if let Err(error) = broker::close_backing(self.device.as_fd(), number) {
            log::warn!("inode {} stays with the kernel until the mount ends: {error}", ino.0);
        }
    }

    fn backing(&self, ino: Ino) -> Option<u32> {
        if !self.possible.load(Ordering::Relaxed) {
            return None;
        }
        let file = self.tree.backing(ino).ok()?;
        match broker::open_backing(self.device.as_fd(), file.as_fd()) {
            Ok(number) => Some(number),
            Err(
                error
                @ (Errno::PERM | Errno::NOTTY | Errno::INVAL | Errno::LOOP | Errno::OPNOTSUPP),
            ) => {
                self.possible.store(false, Ordering::Relaxed);
                log::warn!("profile=data: the kernel serves no files by itself here: {error}");
                None
            }
            Err(error) => {
                log::warn!("inode {}: not served by the kernel: {error}", ino.0);
                None
            }
        }
    }
}

impl Adapter {
    /// Opens a file that the kernel may serve by itself.
    pub(super) fn open_in(
        &self,
        passthrough: &Passthrough,
        request: &Request,
        ino: INodeNo,
        flags: OpenFlags,
        reply: ReplyOpen,
    ) {
        let handle = number(request.unique().0);
        let permitted = self.top.lets_kernel_serve();
        let served = self.answer(request, Operation::Open, ino, |call, ino| {
            passthrough.open(ino, handle, permitted, || self.top.open(&call, ino, flags))
        });
        let handle = FileHandle(handle);
        match served {
            Ok(Served::Passed(file)) => sys::answer_passed(reply, handle, file),
            Ok(Served::Cached { keep_cache: true }) => {
                reply.opened(handle, FopenFlags::FOPEN_KEEP_CACHE);
            }
            Ok(Served::Cached { keep_cache: false }) => reply.opened(handle, FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }
}
