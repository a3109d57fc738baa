//! `SEEK_DATA` and `SEEK_HOLE` where a program has written to a shared mapping: the kernel asks without having
//! written the pages, so what looks like a hole below may have data.

use std::ops::Range;
use std::sync::Arc;

use fuser::{INodeNo, Notifier, ReplyLseek};
use hsci_extension::{Call, Errno, Error, FileSystem, Ino, Result, Whence};

use super::convert;

/// More rounds are for files that others fill just then: any answer of the last moment is right.
const MOST_ROUNDS: usize = 16;

/// What a caller asks.
#[derive(Clone)]
pub(super) struct Seek {
    pub(super) call: Call,
    pub(super) ino: Ino,
    pub(super) offset: u64,
    pub(super) whence: Whence,
}

impl Seek {
    pub(super) fn run(&self, top: &dyn FileSystem) -> Result<u64> {
        top.lseek(&self.call, self.ino, self.offset, self.whence)
    }

    /// The hole on which an answer relies, up to the end of the file where its end is 0. None if it relies
    /// on data alone.
    pub(super) fn hole(&self, top: &dyn FileSystem, found: &Result<u64>) -> Option<Range<u64>> {
        match (self.whence, found) {
            (Whence::Data, Ok(data)) => (*data > self.offset).then_some(self.offset..*data),
            (Whence::Data, Err(Error::Lower(Errno::NXIO))) => Some(self.offset..0),
            (Whence::Hole, Ok(hole)) => {
                // The end of the file is no hole that could have data.
                match top.lseek(&self.call, self.ino, *hole, Whence::Data) {
                    Ok(data) => Some(*hole..data),
                    Err(_) => top
                        .getattr(&self.call, self.ino)
                        .is_ok_and(|attr| attr.size > *hole)
                        .then_some(*hole..0),
                }
            }
            (_, Err(_)) => None,
        }
    }

    /// Answers when the kernel has written what it has of the hole, which must not be waited for by a loop
    /// that is to take these very writes.
    pub(super) fn answer_later(
        self,
        top: &Arc<impl FileSystem + 'static>,
        notifier: Notifier,
        hole: Range<u64>,
        reply: ReplyLseek,
    ) {
        let top = Arc::clone(top);
        let ask = move || {
            let (mut hole, mut found) = (Some(hole), Err(Errno::IO.into()));
            for _ in 0..MOST_ROUNDS {
                let Some(range) = hole.take() else { break };
                let len = range.end.saturating_sub(range.start);
                // It fails where the kernel has nothing of the file.
                let _ = notifier.inval_inode(
                    INodeNo(self.ino.0),
                    range.start.cast_signed(),
                    len.cast_signed(),
                );
                found = self.run(&*top);
                hole = self.hole(&*top, &found).filter(|again| *again != range);
            }
            match found {
                Ok(offset) => reply.offset(offset.cast_signed()),
                Err(error) => reply.error(convert::errno(error.errno())),
            }
        };
        if let Err(error) = std::thread::Builder::new().name("seek".to_owned()).spawn(ask) {
            // The reply went with the thread: the caller gets an error.
            log::warn!("a seek for data or a hole fails: {error}");
        }
    }
}
