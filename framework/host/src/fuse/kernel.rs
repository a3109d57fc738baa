//! Telling the kernel that what it caches is out of date.

use std::ffi::{OsStr, OsString};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};

use fuser::{INodeNo, Notifier};
use hsci_extension::{Call, Ino, Kernel};

use super::operations::Requests;
use super::placement::Placement;
use crate::sandbox::broker;

enum Notice {
    Attributes(Ino),
    Content(Ino),
    Entry(Ino, OsString),
    Deleted(Ino, OsString, Ino),
}

/// The kernel's caches of one mount. Notices are sent by a thread of their own: the kernel may
/// hold an inode's lock while it waits for an answer, so a notice sent from within a request could
/// wait for that very request.
#[derive(Default)]
pub(crate) struct KernelCaches {
    notices: OnceLock<Sender<Notice>>,
    requests: OnceLock<Arc<Requests>>,
    placement: OnceLock<Arc<Placement>>,
}

impl KernelCaches {
    pub(super) fn connect(
        &self,
        notifier: Notifier,
        requests: Arc<Requests>,
        placement: Arc<Placement>,
    ) {
        let _ = self.requests.set(requests);
        let _ = self.placement.set(placement);
        let (sender, notices) = channel();
        let send = move || {
            for notice in notices {
                // ENOENT: the kernel does not know the inode, so it has nothing to forget.
                let _ = match notice {
                    // A negative offset means attributes only.
                    Notice::Attributes(ino) => notifier.inval_inode(INodeNo(ino.0), -1, 0),
                    Notice::Content(ino) => notifier.inval_inode(INodeNo(ino.0), 0, 0),
                    // The kernel drops what it has of the directory's listing as well.
                    Notice::Entry(parent, name) => notifier.inval_entry(INodeNo(parent.0), &name),
                    Notice::Deleted(parent, name, ino) => {
                        notifier.delete(INodeNo(parent.0), INodeNo(ino.0), &name)
                    }
                };
            }
        };
        let started = std::thread::Builder::new().name("notify".to_owned()).spawn(send);
        if let Err(error) = started {
            log::warn!("cached sizes may be out of date: no thread to refresh them: {error}");
            return;
        }
        let _ = self.notices.set(sender);
    }

    fn send(&self, notice: Notice) {
        if let Some(sender) = self.notices.get() {
            // It fails only when the mount has ended.
            let _ = sender.send(notice);
        }
    }
}

impl Kernel for KernelCaches {
    fn groups(&self, call: &Call) -> Vec<u32> {
        broker::groups(call.pid)
    }

    fn requests(&self) -> u64 {
        self.requests.get().map_or(0, |requests| requests.total())
    }

    fn make_way(&self) {
        if let Some(placement) = self.placement.get() {
            placement.make_way();
        }
    }

    fn invalidate_attributes(&self, ino: Ino) {
        self.send(Notice::Attributes(ino));
    }

    fn invalidate_content(&self, ino: Ino) {
        self.send(Notice::Content(ino));
    }

    fn invalidate_entry(&self, parent: Ino, name: &OsStr) {
        self.send(Notice::Entry(parent, name.to_owned()));
    }

    fn deleted(&self, parent: Ino, name: &OsStr, ino: Ino) {
        self.send(Notice::Deleted(parent, name.to_owned(), ino));
    }
}
