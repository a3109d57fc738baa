//! Each request of the kernel becomes a call of the layers.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, Generation,
    INodeNo, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use hsci_extension::{Error, FallocateFlags, FileSystem as _, SetAttr, XattrFlags};

use super::adapter::Adapter;
use super::convert::{call, decode_device, file_type, ino, set_time};
use super::debug::ended;
use super::gate::NOBODY;
use super::listing::NO_ATTR;
use super::negotiate::{negotiate, offer};
use super::opens::NewFile;
use super::operations::Operation;
use super::replay::{unless_gone, unless_set, unless_unset};
use super::xattr::{control_name, sized, terminated};

/// Bytes of names asked for at a time: what fits the kernel's buffer.
const NAMES_BUDGET: usize = 32 << 10;

/// The answer to a copy has 32 bits.
const MOST_COPY: u64 = 1 << 30;

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        self.takeover.set_offer(&offer(config));
        negotiate(config, &self.profile);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _turn = self.turn(request);
        let (call, ino) = (call(request), ino(parent));
        let shown = self.shown(request, Operation::Lookup, (ino, Some(name)));
        let subject = (ino, Some(name));
        let entry = self.answers.to(request.unique().0, Operation::Lookup, subject, || match self
            .top
            .lookup(&call, ino, name)
        {
            Err(Error::Lower(hsci_extension::Errno::NOENT)) => {
                Ok(Err(self.top.absent_ttl(&call, ino, name)))
            }
            other => other.map(Ok),
        });
        let failed = match &entry {
            Ok(Ok(_)) => None,
            Ok(Err(_)) => Some(Errno::ENOENT.code()),
            Err(errno) => Some(errno.code()),
        };
        ended(shown, failed);
        match entry {
            Ok(Ok(entry)) => self.entry(request, Ok(entry), reply),
            // Inode 0 with a time: the kernel remembers that there is no such name.
            Ok(Err(ttl)) => reply.entry(&self.name_ttl(ttl), &NO_ATTR, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn forget(&self, request: &Request, number: INodeNo, lookups: u64) {
        if number == NOBODY {
            return self.gate.pass(request);
        }
        // Nobody waits for an answer.
        let _ = self.answer(request, Operation::Forget, number, |_, ino| {
            self.tree.forgotten(ino, lookups);
            if let Some(passthrough) = &self.passthrough {
                passthrough.forget(ino);
            }
            let _ = self.top.forget(ino, lookups);
            Ok(())
        });
    }

    fn getattr(&self, request: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let _turn = self.turn(request);
        let attr = self
            .answer(request, Operation::Getattr, number, |call, ino| self.top.getattr(&call, ino));
        self.attributes(attr, reply);
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let _turn = self.turn(request);
        let mut changes = SetAttr::of_times(atime.map(set_time), mtime.map(set_time));
        changes.mode = mode.map(|mode| mode & 0o7777);
        (changes.uid, changes.gid, changes.size) = (uid, gid, size);
        let attr = self.answer(request, Operation::Setattr, number, |call, ino| {
            if changes.size.is_some() {
                self.before_change(&call, ino)?;
            }
            self.top.setattr(&call, ino, &changes)
        });
        self.attributes(attr, reply);
    }

    fn readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        let _turn = self.turn(request);
        let target = self.answer(request, Operation::Readlink, number, |call, ino| {
            self.top.readlink(&call, ino)
        });
        match target {
            Ok(target) => reply.data(target.as_bytes()),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let _turn = self.turn(request);
        let entry = self.answer_name(request, Operation::Mknod, (parent, name), |call, ino| {
            let call = call.with_umask(umask);
            let made = self.top.mknod(&call, ino, name, mode, decode_device(rdev));
            self.unless_made(request, made, ino, name)
        });
        self.entry(request, entry, reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let _turn = self.turn(request);
        let entry = self.answer_name(request, Operation::Mkdir, (parent, name), |call, ino| {
            let call = call.with_umask(umask);
            let made = self.top.mkdir(&call, ino, name, mode);
            self.unless_made(request, made, ino, name)
        });
        self.entry(request, entry, reply);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turn(request);
        let outcome = self.answer_name(request, Operation::Unlink, (parent, name), |call, ino| {
            unless_gone(request, self.top.unlink(&call, ino, name))
        });
        empty(outcome, reply);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turn(request);
        let outcome = self.answer_name(request, Operation::Rmdir, (parent, name), |call, ino| {
            unless_gone(request, self.top.rmdir(&call, ino, name))
        });
        empty(outcome, reply);
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let _turn = self.turn(request);
        let entry = self.answer_name(request, Operation::Symlink, (parent, name), |call, ino| {
            let made = self.top.symlink(&call, ino, name, target.as_os_str());
            self.unless_made(request, made, ino, name)
        });
        self.entry(request, entry, reply);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turn(request);
        let flags = hsci_extension::RenameFlags::from_bits_retain(flags.bits());
        let outcome = self.answer_name(request, Operation::Rename, (parent, name), |_, _| {
            let (from, to) = ((ino(parent), name), (ino(new_parent), new_name));
            self.rename_once(request, from, to, flags)
        });
        empty(outcome, reply);
    }

    fn link(
        &self,
        request: &Request,
        number: INodeNo,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEntry,
    ) {
        let _turn = self.turn(request);
        let entry = self.answer(request, Operation::Link, number, |call, _| {
            let made = self.top.link(&call, ino(number), ino(parent), name);
            self.unless_made(request, made, ino(parent), name)
        });
        self.entry(request, entry, reply);
    }

    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.turn(request);
        self.open_file(request, number, flags, reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let _turn = self.turn(request);
        let made = NewFile { parent, name, mode, umask, flags };
        self.create_file(request, &made, reply);
    }

    fn release(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turn(request);
        let outcome = self.answer(request, Operation::Release, number, |_, ino| {
            let Some(passthrough) = &self.passthrough else {
                return self.top.release(ino, handle.0);
            };
            passthrough.release(ino, handle.0);
            self.top.release(ino, 0)
        });
        empty(outcome, reply);
    }

    fn flush(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        _: LockOwner,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turn(request);
        if !self.profile.flushes {
            // On purpose: from now on closes are the kernel's own business.
            self.answers.count(Operation::Flush);
            return reply.error(Errno::ENOSYS);
        }
        let outcome =
            self.answer_handle(request, Operation::Flush, (number, handle), |call, ino| {
                self.top.flush(&call, ino)
            });
        empty(outcome, reply);
    }

    fn read(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _turn = self.turn(request);
        self.pool.placement.copies(size as usize);
        self.read_file(request, (number, handle), offset, size as usize, reply);
    }

    fn write(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _turn = self.turn(request);
        self.pool.placement.copies(data.len());
        let written =
            self.answer_handle(request, Operation::Write, (number, handle), |call, ino| {
                let mut call = call;
                // Dirty pages of a mapping, written back by whoever came along.
                call.anonymous = flags.contains(WriteFlags::FUSE_WRITE_CACHE);
                if flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
                    self.take_rights(&call, ino)?;
                }
                self.top.write(&call, ino, offset, data).map_err(|error| error.at(offset))
            });
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn fsync(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turn(request);
        let outcome =
            self.answer_handle(request, Operation::Fsync, (number, handle), |call, ino| {
                self.top.fsync(&call, ino, data_only)
            });
        empty(outcome, reply);
    }

    fn opendir(&self, request: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let _turn = self.turn(request);
        self.open_directory(request, number, reply);
    }

    fn readdir(
        &self,
        request: &Request,
        number: INodeNo,
        _: FileHandle,
        cookie: u64,
        mut reply: ReplyDirectory,
    ) {
        let _turn = self.turn(request);
        let entries = self.answer(request, Operation::Readdir, number, |call, ino| {
            self.top.readdir(&call, ino, cookie, NAMES_BUDGET)
        });
        match entries {
            Ok(entries) => {
                for entry in entries {
                    let kind = entry.kind.map_or(fuser::FileType::RegularFile, file_type);
                    if reply.add(INodeNo(entry.ino), entry.next, kind, &entry.name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(
        &self,
        request: &Request,
        number: INodeNo,
        _: FileHandle,
        cookie: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let _turn = self.turn(request);
        let outcome = self.answer(request, Operation::Readdirplus, number, |_, ino| {
            self.list_with_attributes(request, ino, cookie, &mut reply)
        });
        match outcome {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn fsyncdir(
        &self,
        request: &Request,
        number: INodeNo,
        _: FileHandle,
        data_only: bool,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turn(request);
        let outcome = self.answer(request, Operation::Fsyncdir, number, |call, ino| {
            self.top.fsyncdir(&call, ino, data_only)
        });
        empty(outcome, reply);
    }

    fn statfs(&self, request: &Request, number: INodeNo, reply: ReplyStatfs) {
        let _turn = self.turn(request);
        let stat = self
            .answer(request, Operation::Statfs, number, |call, ino| self.top.statfs(&call, ino));
        match stat {
            Ok(stat) => reply.statfs(
                stat.blocks,
                stat.blocks_free,
                stat.blocks_available,
                stat.files,
                stat.files_free,
                stat.block_size as u32,
                stat.name_max as u32,
                stat.fragment_size as u32,
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn setxattr(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turn(request);
        let flags = XattrFlags::from_bits_retain(flags as u32);
        let outcome = match control_name(name) {
            Some(name) => self.answer(request, Operation::Control, number, |call, ino| {
                self.top.control_set(&call, ino, name, value)
            }),
            None => self.answer(request, Operation::Setxattr, number, |call, ino| {
                unless_set(request, self.top.setxattr(&call, ino, name, value, flags))?;
                self.after_acl(&call, ino, name)
            }),
        };
        empty(outcome, reply);
    }

    fn getxattr(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let _turn = self.turn(request);
        let value = match control_name(name) {
            Some(name) => self.control_get(request, number, name),
            None => self.answer(request, Operation::Getxattr, number, |call, ino| {
                self.top.getxattr(&call, ino, name)
            }),
        };
        sized(value, size, reply);
    }

    fn listxattr(&self, request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let _turn = self.turn(request);
        let names = self.answer(request, Operation::Listxattr, number, |call, ino| {
            self.top.listxattr(&call, ino)
        });
        sized(names.map(terminated), size, reply);
    }

    fn removexattr(&self, request: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turn(request);
        let outcome = match control_name(name) {
            // Taking an order back is giving an empty one.
            Some(name) => self.answer(request, Operation::Control, number, |call, ino| {
                self.top.control_set(&call, ino, name, b"")
            }),
            None => self.answer(request, Operation::Removexattr, number, |call, ino| {
                unless_unset(request, self.top.removexattr(&call, ino, name))
            }),
        };
        empty(outcome, reply);
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        // With `default_permissions` the kernel has checked.
        self.answers.count(Operation::Access);
        reply.ok();
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        self.answers.count(Operation::Ioctl);
        reply.error(Errno::ENOTTY);
    }

    fn fallocate(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let _turn = self.turn(request);
        let mode = FallocateFlags::from_bits_retain(mode as u32);
        let outcome =
            self.answer_handle(request, Operation::Fallocate, (number, handle), |call, ino| {
                self.before_change(&call, ino)?;
                self.top.fallocate(&call, ino, mode, offset, len)
            });
        empty(outcome, reply);
    }

    fn lseek(
        &self,
        request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let _turn = self.turn(request);
        self.seek_in(request, (number, handle), offset, whence, reply);
    }

    fn copy_file_range(
        &self,
        request: &Request,
        from: INodeNo,
        _: FileHandle,
        from_offset: u64,
        to: INodeNo,
        handle: FileHandle,
        to_offset: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let _turn = self.turn(request);
        let copied =
            self.answer_handle(request, Operation::CopyFileRange, (from, handle), |call, _| {
                let (from, to) = ((ino(from), from_offset), (ino(to), to_offset));
                self.before_change(&call, to.0)?;
                self.top.copy_file_range(&call, from, to, len.min(MOST_COPY))
            });
        match copied {
            Ok(copied) => reply.written(copied as u32),
            Err(errno) => reply.error(errno),
        }
    }
}

fn empty(outcome: Result<(), Errno>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}
