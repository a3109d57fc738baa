//! Requests become calls of the layers.

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags,
    Generation, INodeNo, IoctlFlags, KernelConfig, LockOwner, Notifier, OpenFlags, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};
use hsci_extension::{
    Attr, Call, Entry, Error, FallocateFlags, FileSystem, Ino, OpenFlags as Flags, Opened,
    Result as LayerResult, SetAttr, Whence, XattrFlags,
};

use hsci_protocol::status::Quarantined;

use super::ahead::Ahead;
use super::answer::{Answers, path_of};
use super::convert::{call, decode_device, file_attr, file_type, ino, set_time};
use super::debug::{Shown, ended};
use super::listing::NO_ATTR;
use super::negotiate::{negotiate, offer};
use super::operations::Operation;
use super::passthrough::Passthrough;
use super::pool::{Pool, Turn};
use super::prune::Due;
use super::replay::{unless_gone, unless_set, unless_unset};
use super::seek::Seek;
use super::xattr::{control_name, sized, terminated};
use super::{Mounted, Profile};
use crate::lower::LowerTree;
use crate::policy::Judged;
use crate::takeover::TakeoverState;

/// Bytes of names asked for at a time: what fits the kernel's buffer.
const NAMES_BUDGET: usize = 32 << 10;

const REGULAR_FILE: u32 = 0o100_000;
const FILE_TYPE: u32 = 0o170_000;

/// Each event loop has one; all share what is in it.
#[derive(Clone)]
pub(super) struct Adapter {
    pub(super) top: Arc<Judged>,
    /// The lowest layer, which writes down what the kernel is told.
    pub(super) tree: Arc<LowerTree>,
    takeover: Arc<TakeoverState>,
    profile: Profile,
    answers: Arc<Answers>,
    passthrough: Option<Arc<Passthrough>>,
    pub(super) pool: Arc<Pool>,
    /// It may be parked: the loop was started because others waited.
    is_extra: bool,
    /// Every request is logged.
    debug: bool,
    /// Tells the kernel something, once the connection has begun.
    pub(super) notifier: Arc<OnceLock<Notifier>>,
    due: Due,
    pub(super) ahead: Arc<Ahead>,
}

impl Adapter {
    pub(super) fn new(
        mounted: Mounted,
        passthrough: Option<Passthrough>,
        ahead: Ahead,
        due: Due,
    ) -> Self {
        let Mounted { top, tree, profile, requests, takeover, death, debug } = mounted;
        let answers =
            Arc::new(Answers::new(Arc::clone(&top) as _, requests, Arc::clone(&takeover), death));
        let pool = Pool::new(profile.threads, Arc::clone(&takeover));
        let notifier = Arc::default();
        let (passthrough, ahead) = (passthrough.map(Arc::new), Arc::new(ahead));
        Self {
            top,
            tree,
            takeover,
            profile,
            answers,
            passthrough,
            pool,
            is_extra: false,
            debug,
            notifier,
            due,
            ahead,
        }
    }

    /// Before the kernel is told of an inode once more.
    pub(super) fn tell(&self, request: &Request, ino: Ino) {
        let user = request.uid();
        if self.tree.tell(ino, user) {
            // Where many are due, this one's turn comes again.
            let _ = self.due.try_send(user);
        }
    }

    /// How long the kernel may rely on a name, of which a layer says `asked`.
    pub(super) fn name_ttl(&self, asked: Option<Duration>) -> Duration {
        match self.profile.names_differ {
            true => Duration::ZERO,
            false => asked.unwrap_or(self.profile.cache),
        }
    }

    fn entry(&self, request: &Request, entry: Result<Entry, Errno>, reply: ReplyEntry) {
        match entry {
            Ok(entry) => {
                self.tell(request, entry.ino);
                let attr = file_attr(INodeNo(entry.ino.0), &entry.attr);
                let ttl = self.name_ttl(entry.ttl);
                reply.entry(&ttl, &attr, Generation(entry.generation));
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn attributes(&self, attr: Result<Attr, Errno>, reply: ReplyAttr) {
        match attr {
            Ok(attr) => reply.attr(&self.profile.cache, &file_attr(INodeNo(attr.ino), &attr)),
            Err(errno) => reply.error(errno),
        }
    }

    /// Runs the layers' code for a request.
    pub(super) fn answer<T>(
        &self,
        request: &Request,
        operation: Operation,
        number: INodeNo,
        run: impl FnOnce(Call, Ino) -> LayerResult<T>,
    ) -> Result<T, Errno> {
        let (call, ino) = (call(request), ino(number));
        let shown = self.shown(request, operation, (ino, None));
        let outcome =
            self.answers.to(request.unique().0, operation, (ino, None), || run(call, ino));
        ended(shown, outcome.as_ref().err().map(|errno| errno.code()));
        outcome
    }

    /// What is to be logged of a request, if it is.
    fn shown(
        &self,
        request: &Request,
        operation: Operation,
        subject: (Ino, Option<&OsStr>),
    ) -> Option<Shown> {
        self.debug.then(|| Shown::new(&*self.top, request, operation, subject))
    }

    /// Runs the layers' code for a request about a name in a directory.
    fn answer_name<T>(
        &self,
        request: &Request,
        operation: Operation,
        (parent, name): (INodeNo, &OsStr),
        run: impl FnOnce(Call, Ino) -> LayerResult<T>,
    ) -> Result<T, Errno> {
        let (call, ino) = (call(request), ino(parent));
        let shown = self.shown(request, operation, (ino, Some(name)));
        let outcome =
            self.answers.to(request.unique().0, operation, (ino, Some(name)), || run(call, ino));
        ended(shown, outcome.as_ref().err().map(|errno| errno.code()));
        outcome
    }

    /// Runs the layers' code for a request that may come through an open.
    fn answer_handle<T>(
        &self,
        request: &Request,
        operation: Operation,
        (number, handle): (INodeNo, FileHandle),
        run: impl FnOnce(Call, Ino) -> LayerResult<T>,
    ) -> Result<T, Errno> {
        // Without opens the kernel makes the number up.
        let handle = self.profile.opens.then_some(handle.0);
        self.answer(request, operation, number, |call, ino| run(call.with_handle(handle), ino))
    }

    /// The same for loops that are started because others wait.
    pub(super) fn extra(&self) -> Self {
        Self { is_extra: true, ..self.clone() }
    }

    /// This loop has read a request.
    fn turn(&self) -> Turn<'_> {
        self.pool.turn(self.is_extra)
    }

    /// Requests that are refused because workers died of them.
    pub(super) fn quarantined(&self) -> Vec<Quarantined> {
        let named = |(operation, ino, name): (&str, Ino, Option<OsString>)| {
            let mut path = path_of(&*self.top, ino);
            path.extend(name);
            Quarantined { operation: operation.to_owned(), path, inode: ino.0 }
        };
        self.answers.quarantined().into_iter().map(named).collect()
    }

    fn control_get(
        &self,
        request: &Request,
        number: INodeNo,
        name: &str,
    ) -> Result<Vec<u8>, Errno> {
        self.answer(request, Operation::Control, number, |call, ino| {
            self.top.control_get(&call, ino, name)
        })
    }
}

thread_local! {
    /// Read answers are built here, so that no request allocates or clears memory.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn empty(outcome: Result<(), Errno>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        self.takeover.set_offer(&offer(config));
        negotiate(config, self.profile.data);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let _turn = self.turn();
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
        let _turn = self.turn();
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
        let _turn = self.turn();
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
        let _turn = self.turn();
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
        let _turn = self.turn();
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
        let _turn = self.turn();
        let entry = self.answer_name(request, Operation::Mkdir, (parent, name), |call, ino| {
            let call = call.with_umask(umask);
            let made = self.top.mkdir(&call, ino, name, mode);
            self.unless_made(request, made, ino, name)
        });
        self.entry(request, entry, reply);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turn();
        let outcome = self.answer_name(request, Operation::Unlink, (parent, name), |call, ino| {
            unless_gone(request, self.top.unlink(&call, ino, name))
        });
        empty(outcome, reply);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turn();
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
        let _turn = self.turn();
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
        let _turn = self.turn();
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
        let _turn = self.turn();
        let entry = self.answer(request, Operation::Link, number, |call, _| {
            let made = self.top.link(&call, ino(number), ino(parent), name);
            self.unless_made(request, made, ino(parent), name)
        });
        self.entry(request, entry, reply);
    }

    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let _turn = self.turn();
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
        let _turn = self.turn();
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
        let _turn = self.turn();
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
        let _turn = self.turn();
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
        let _turn = self.turn();
        BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let read =
                self.answer_handle(request, Operation::Read, (number, handle), |call, ino| {
                    let read = self.top.read(&call, ino, offset, &mut buffer[..size]);
                    let read = read.map_err(|error| error.at(offset))?;
                    let broken = || Error::Broken(format!("{read} bytes read where {size} fit"));
                    (read <= size).then_some(read).ok_or_else(broken)
                });
            match read {
                Ok(read) => {
                    reply.data(&buffer[..read]);
                    self.tree.accessed(ino(number));
                    if offset == 0 {
                        self.started_reading(request, ino(number));
                    }
                }
                Err(errno) => reply.error(errno),
            }
        });
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
        let _turn = self.turn();
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
        let _turn = self.turn();
        let outcome =
            self.answer_handle(request, Operation::Fsync, (number, handle), |call, ino| {
                self.top.fsync(&call, ino, data_only)
            });
        empty(outcome, reply);
    }

    fn opendir(&self, request: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let _turn = self.turn();
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

    fn readdir(
        &self,
        request: &Request,
        number: INodeNo,
        _: FileHandle,
        cookie: u64,
        mut reply: ReplyDirectory,
    ) {
        let _turn = self.turn();
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
        let _turn = self.turn();
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
        let _turn = self.turn();
        let outcome = self.answer(request, Operation::Fsyncdir, number, |call, ino| {
            self.top.fsyncdir(&call, ino, data_only)
        });
        empty(outcome, reply);
    }

    fn statfs(&self, request: &Request, number: INodeNo, reply: ReplyStatfs) {
        let _turn = self.turn();
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
        let _turn = self.turn();
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
        let _turn = self.turn();
        let value = match control_name(name) {
            Some(name) => self.control_get(request, number, name),
            None => self.answer(request, Operation::Getxattr, number, |call, ino| {
                self.top.getxattr(&call, ino, name)
            }),
        };
        sized(value, size, reply);
    }

    fn listxattr(&self, request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let _turn = self.turn();
        let names = self.answer(request, Operation::Listxattr, number, |call, ino| {
            self.top.listxattr(&call, ino)
        });
        sized(names.map(terminated), size, reply);
    }

    fn removexattr(&self, request: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let _turn = self.turn();
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
        let _turn = self.turn();
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
        let _turn = self.turn();
        let mut hole = None;
        let found = self.answer_handle(request, Operation::Lseek, (number, handle), |call, ino| {
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
        let _turn = self.turn();
        let copied =
            self.answer_handle(request, Operation::CopyFileRange, (from, handle), |call, _| {
                let (from, to) = ((ino(from), from_offset), (ino(to), to_offset));
                self.before_change(&call, to.0)?;
                // The answer has 32 bits.
                self.top.copy_file_range(&call, from, to, len.min(MOST_COPY))
            });
        match copied {
            Ok(copied) => reply.written(copied as u32),
            Err(errno) => reply.error(errno),
        }
    }
}

const MOST_COPY: u64 = 1 << 30;
/// What the kernel takes for granted where it opens directories itself.
const CACHED_DIRECTORY: FopenFlags =
    FopenFlags::FOPEN_CACHE_DIR.union(FopenFlags::FOPEN_KEEP_CACHE);

fn open_flags(flags: i32) -> Flags {
    Flags::from_bits_retain(flags as u32)
}

fn fopen_flags(opened: Opened) -> FopenFlags {
    if opened.direct_io { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::FOPEN_KEEP_CACHE }
}
