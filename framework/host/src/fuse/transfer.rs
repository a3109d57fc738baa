//! Reading, and looking for data and holes.

use std::cell::RefCell;

use fuser::{FileHandle, INodeNo, ReplyData, ReplyLseek, Request};
use hsci_extension::{Error, FileSystem as _, Whence};

use super::adapter::Adapter;
use super::convert::ino;
use super::operations::Operation;
use super::seek::Seek;

thread_local! {
    /// Read answers are built here, so that no request allocates or clears memory.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Adapter {
    pub(super) fn read_file(
        &self,
        request: &Request,
        file: (INodeNo, FileHandle),
        offset: u64,
        size: usize,
        reply: ReplyData,
    ) {
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let read = self.answer_handle(request, Operation::Read, file, |call, ino| {
                let read = self.top.read(&call, ino, offset, &mut buffer[..size]);
                let read = read.map_err(|error| error.at(offset))?;
                let broken = || Error::Broken(format!("{read} bytes read where {size} fit"));
                (read <= size).then_some(read).ok_or_else(broken)
            });
            match read {
                Ok(read) => {
                    reply.data(&buffer[..read]);
                    self.tree.accessed(ino(file.0));
                    if offset == 0 {
                        self.started_reading(request, ino(file.0));
                    }
                }
                Err(errno) => reply.error(errno),
            }
        });
    }

    pub(super) fn seek_in(
        &self,
        request: &Request,
        file: (INodeNo, FileHandle),
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let mut hole = None;
        let found = self.answer_handle(request, Operation::Lseek, file, |call, ino| {
            let offset = u64::try_from(offset).map_err(|_| hsci_extension::Errno::NXIO)?;
            let whence = match whence {
                libc::SEEK_DATA => Whence::Data,
                libc::SEEK_HOLE => Whence::Hole,
                _ => return Err(Error::Invalid("whence".to_owned())),
            };
            let seek = Seek { call, ino, offset, whence };
            let found = seek.run(&*self.top);
            hole = seek.hole(&*self.top, &found).map(|hole| (seek, hole));
            found
        });
        if let (Some((seek, hole)), Some(notifier)) = (hole, self.notifier.get()) {
            return seek.answer_later(&self.top, notifier.clone(), hole, reply);
        }
        match found {
            Ok(offset) => reply.offset(offset as i64),
            Err(errno) => reply.error(errno),
        }
    }
}
