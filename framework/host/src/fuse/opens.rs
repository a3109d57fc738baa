//! Opening and making files, opening directories.

use std::ffi::OsStr;

use fuser::{
    Errno, FileHandle, FopenFlags, Generation, INodeNo, OpenFlags, ReplyCreate, ReplyOpen, Request,
};
use hsci_extension::{FileSystem as _, OpenFlags as Flags, Opened};

use super::adapter::Adapter;
use super::convert::file_attr;
use super::operations::Operation;

const REGULAR_FILE: u32 = 0o100_000;
const FILE_TYPE: u32 = 0o170_000;

/// A file that a caller wants to make, and to open with flags.
pub(super) struct NewFile<'a> {
    pub(super) parent: INodeNo,
    pub(super) name: &'a OsStr,
    pub(super) mode: u32,
    pub(super) umask: u32,
    pub(super) flags: i32,
}

impl Adapter {
    pub(super) fn open_file(
        &self,
        request: &Request,
        number: INodeNo,
        flags: OpenFlags,
        reply: ReplyOpen,
    ) {
        if !self.profile.opens {
            // On purpose: from now on the kernel keeps opens to itself.
            self.answers.count(Operation::Open);
            return reply.error(Errno::ENOSYS);
        }
        if let Some(passthrough) = &self.passthrough {
            return self.open_in(passthrough, request, number, open_flags(flags.0), reply);
        }
        let opened = self.answer(request, Operation::Open, number, |call, ino| {
            self.top.open(&call, ino, open_flags(flags.0))
        });
        match opened {
            Ok(opened) => reply.opened(FileHandle(opened.handle), fopen_flags(opened)),
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn create_file(&self, request: &Request, file: &NewFile<'_>, reply: ReplyCreate) {
        let NewFile { parent, name, mode, umask, flags } = *file;
        if !self.profile.opens || self.passthrough.is_some() {
            // On purpose: MKNOD costs one request less, for no RELEASE follows; with `profile=data` an OPEN
            // follows, for the answer to a CREATE has no place for the number of a lower file.
            self.answers.count(Operation::Create);
            return reply.error(Errno::ENOSYS);
        }
        let created = self.answer_name(request, Operation::Create, (parent, name), |call, ino| {
            let call = call.with_umask(umask);
            let mode = mode & !FILE_TYPE | REGULAR_FILE;
            let flags = open_flags(flags);
            let judged = self.top.before_create(&call, ino, name, flags)?;
            let made = self.top.mknod(&call, ino, name, mode, 0);
            let entry = self.unless_made(request, made, ino, name)?;
            match self.top.open_made(&judged, entry.ino, flags) {
                Ok(opened) => Ok((entry, opened)),
                Err(error) => {
                    self.top.forget(entry.ino, 1);
                    Err(error)
                }
            }
        });
        match created {
            Ok((entry, opened)) => {
                self.tell(request, entry.ino);
                reply.created(
                    &self.name_ttl(entry.ttl),
                    &file_attr(INodeNo(entry.ino.0), &entry.attr),
                    Generation(entry.generation),
                    FileHandle(opened.handle),
                    fopen_flags(opened),
                );
            }
            Err(errno) => reply.error(errno),
        }
    }

    pub(super) fn open_directory(&self, request: &Request, number: INodeNo, reply: ReplyOpen) {
        if !self.profile.opendirs {
            // On purpose: from now on the kernel opens directories itself, and caches what is in them.
            self.answers.count(Operation::Opendir);
            return reply.error(Errno::ENOSYS);
        }
        let opened = self
            .answer(request, Operation::Opendir, number, |call, ino| self.top.opendir(&call, ino));
        match opened {
            Ok(()) if self.profile.names_differ => {
                reply.opened(FileHandle(0), FopenFlags::empty());
            }
            Ok(()) => reply.opened(FileHandle(0), CACHED_DIRECTORY),
            Err(errno) => reply.error(errno),
        }
    }
}

/// What the kernel takes for granted where it opens directories itself.
const CACHED_DIRECTORY: FopenFlags =
    FopenFlags::FOPEN_CACHE_DIR.union(FopenFlags::FOPEN_KEEP_CACHE);

fn open_flags(flags: i32) -> Flags {
    Flags::from_bits_retain(flags as u32)
}

fn fopen_flags(opened: Opened) -> FopenFlags {
    if opened.direct_io { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::FOPEN_KEEP_CACHE }
}
