//! The adapter that makes a content extension a file system.

use std::ffi::OsStr;
use std::sync::Arc;

use super::committer::Committer;
use super::context::Context;
use super::file::ContentFile;
use super::open_file::Shared;
use super::open_files::{OpenFiles, Use};
use super::settler::Settler;
use crate::{
    Attr, Call, Content, Entry, Environment, Errno, Error, FallocateFlags, FileKind, Ino, Layer,
    LowerFile, OpenFile, OpenFlags, Opened, Result, SetAttr, SetTime, Stack, Whence, XattrFlags,
};

/// Bytes that a copy moves at a time, and in one call.
const COPY_PIECE: u64 = 256 << 10;
const MOST_COPY: u64 = 16 << 20;

/// What the host asks of before it ends the mount: it commits all files, and the answer names those that
/// cannot be committed, a line for each.
pub const UNCOMMITTED: &str = "uncommitted";

/// What the host asks of after the start and for a status: the answer is a JSON array of texts, each about something that
/// those who mount the store have to know, and what they can do about it.
pub const NOTICES: &str = "notices";

/// The attribute that holds a file's capabilities.
const CAPABILITY: &str = "security.capability";

/// When the tree is searched for files that are not in their final form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Once after the start, slowly, and whenever somebody asks for it.
    AtStart,
    /// Only when somebody asks for it.
    OnRequest,
}

/// Serves the regular files of the layer below through a [`Content`] extension.
///
/// Sizes are logical, blocks those that the lower file takes; everything else is the lower
/// layer's. If the extension wants it, files are settled in the background, while their owners take turns:
/// [`control_set`](crate::FileSystem::control_set) of `settle` settles all of the caller's now, all of them for root, and `settle` tells
/// how far that is: `{"done":n,"total":n|null,"running":bool,"failed":n,"bytes":n,"total_bytes":n|null}`. Other names that the
/// extension [describes](Content::describe) can be asked of regular files.
pub struct ContentFs<C: Content> {
    files: Arc<Files<C>>,
}

impl<C: Content> ContentFs<C> {
    /// The layer of `content` above the environment's lower layer. Existing files are settled, too.
    #[must_use]
    pub fn new(content: Arc<C>, environment: &Environment) -> Arc<Self> {
        Self::with_scan(content, environment, Scan::AtStart)
    }

    /// As [`ContentFs::new`], with a choice about existing files.
    #[must_use]
    pub fn with_scan(content: Arc<C>, environment: &Environment, scan: Scan) -> Arc<Self> {
        let shared = Shared::new(environment);
        let open_files = Arc::new(OpenFiles::new(content, shared));
        let settler = match open_files.content.quiet_time() {
            Some(quiet) if !environment.read_only => {
                Settler::start(&open_files, &environment.kernel, quiet, scan)
            }
            _ => None,
        };
        let committer = match open_files.content.commit_time() {
            Some(delay) if !environment.read_only => {
                Committer::start(&open_files.content, &open_files.shared, delay)
            }
            _ => None,
        };
        Arc::new(Self { files: Arc::new(Files { open_files, settler, committer }) })
    }

    /// The extension.
    #[must_use]
    pub fn content(&self) -> &C {
        self.files.content()
    }

    #[cfg(test)]
    pub(super) fn open_files_in_use(&self) -> usize {
        self.files.open_files.count()
    }

    fn lower(&self) -> &Stack {
        &*self.files.open_files.shared.lower
    }

    /// A regular file as the methods of the extension get it, which is in use from now on; for work of an
    /// extension's own, such as a [repair](crate::Extension::repair).
    pub fn open_file(&self, ino: Ino) -> Result<Arc<OpenFile<C>>> {
        self.files.open_files.get(ino)
    }

    /// Commits everything; returns the files that cannot be committed, here and below.
    fn commit_all(&self, call: &Call, ino: Ino) -> Result<Vec<u8>> {
        let mut failed = match self.files.open_files.shared.read_only {
            true => Vec::new(),
            false => self.files.open_files.commit_all(),
        };
        match self.lower().control_get(call, ino, UNCOMMITTED) {
            Ok(below) => failed.extend(String::from_utf8_lossy(&below).lines().map(str::to_owned)),
            Err(Error::NoAttribute) => {}
            Err(error) => return Err(error),
        }
        Ok(failed.join("\n").into_bytes())
    }

    fn is_regular(&self, ino: Ino) -> Result<bool> {
        Ok(self.lower().getattr(&Call::internal(), ino)?.kind == FileKind::Regular)
    }

    /// What users see of an entry that the lower layer has handed out.
    fn show(&self, mut entry: Entry) -> Result<Entry> {
        if entry.attr.kind != FileKind::Regular {
            return Ok(entry);
        }
        let shown = match self.files.open_files.find(entry.ino) {
            Use::Open(open) => self.files.attr(&open).map(|attr| entry.attr = attr),
            Use::AtRest(_guard) => self.files.show_at_rest(entry.ino, &mut entry.attr),
        };
        match shown {
            Ok(()) => Ok(entry),
            Err(error) => {
                self.lower().forget(entry.ino, 1);
                Err(error)
            }
        }
    }
}

impl<C: Content> Drop for ContentFs<C> {
    fn drop(&mut self) {
        self.files.stop();
    }
}

/// The operations on files in use.
pub(super) struct Files<C: Content> {
    pub(super) open_files: Arc<OpenFiles<C>>,
    settler: Option<Settler<C>>,
    committer: Option<Committer<C>>,
}

impl<C: Content> Files<C> {
    pub(super) fn content(&self) -> &C {
        &self.open_files.content
    }

    fn lower(&self) -> &Stack {
        &*self.open_files.shared.lower
    }

    /// What users see of a file in use.
    fn attr(&self, open: &OpenFile<C>) -> Result<Attr> {
        // Under the lock, so that size and times belong together.
        let state = open.read();
        self.shown(open, &state, open.lower_attr()?)
    }

    /// Turns the lower attributes of a file in use into those that users see.
    fn shown(&self, open: &OpenFile<C>, state: &C::File, mut attr: Attr) -> Result<Attr> {
        let len = self.content().len_by(state, &attr);
        if let Some(times) = self.content().times(state) {
            (attr.atime, attr.mtime) = (times.accessed, times.modified);
        }
        set_size(&mut attr, len, || open.path().display().to_string())?;
        Ok(attr)
    }

    /// Turns the lower attributes of a file that is not in use into those that users see.
    fn show_at_rest(&self, ino: Ino, attr: &mut Attr) -> Result<()> {
        if attr.kind != FileKind::Regular || attr.size == 0 {
            return Ok(());
        }
        let context = Context::new(&self.open_files.shared, ino)?;
        let len = self.content().peek_len(&context, attr);
        set_size(attr, len, || context.path().display().to_string())
    }

    /// Changes a file for a caller; it then waits to be settled. Even a change that fails may have
    /// changed something.
    fn change(
        &self,
        open: &Arc<OpenFile<C>>,
        change: impl FnOnce(&mut C::File) -> Result<()>,
    ) -> Result<()> {
        let mut state = open.write();
        let changed = change(&mut state);
        self.content().changed(open, &mut state);
        drop(state);
        if let Some(settler) = &self.settler
            && open.note_write()
        {
            settler.note(open.ino());
        }
        if let Some(committer) = &self.committer {
            committer.note(open);
        }
        changed
    }

    pub(super) fn read(
        &self,
        open: &OpenFile<C>,
        call: &Call,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize> {
        self.content().read(&open.read(), call, offset, buffer)
    }

    pub(super) fn write(
        &self,
        open: &Arc<OpenFile<C>>,
        call: &Call,
        offset: u64,
        data: &[u8],
    ) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        self.change(open, |state| self.content().write(state, call, offset, data))
    }

    /// Sets the length, and then the other attributes.
    pub(super) fn truncate(
        &self,
        open: &Arc<OpenFile<C>>,
        call: &Call,
        len: u64,
        changes: &SetAttr,
    ) -> Result<()> {
        self.change(open, |state| {
            self.content().set_len(state, call, len)?;
            if call.uid != 0 && !call.anonymous {
                // As for any truncation by somebody without privileges.
                self.lower().drop_privileges(open.ino())?;
            }
            let others = SetAttr { size: None, ..changes.clone() };
            if others != SetAttr::default() {
                self.lower().setattr(call, open.ino(), &others)?;
            }
            if others.mtime.is_none() {
                self.touch(open)?;
            }
            self.content().times_set(state)
        })
    }

    pub(super) fn set_times(
        &self,
        open: &OpenFile<C>,
        call: &Call,
        changes: &SetAttr,
    ) -> Result<Attr> {
        let mut state = open.write();
        let attr = self.lower().setattr(call, open.ino(), changes)?;
        self.content().times_set(&mut state)?;
        self.shown(open, &state, attr)
    }

    pub(super) fn fallocate(
        &self,
        open: &Arc<OpenFile<C>>,
        call: &Call,
        mode: FallocateFlags,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        self.change(open, |state| {
            self.content().fallocate(state, call, mode, offset, len)?;
            self.touch(open)?;
            self.content().times_set(state)
        })
    }

    /// Sets the time of change: the content changed, be the lower file written or not.
    fn touch(&self, open: &OpenFile<C>) -> Result<()> {
        let changes = SetAttr::of_times(None, Some(SetTime::Now));
        match self.lower().setattr(&Call::internal(), open.ino(), &changes) {
            // An unprivileged host may write others' files without being allowed to set times.
            Err(Error::Lower(Errno::PERM | Errno::ACCESS)) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn seek(&self, open: &OpenFile<C>, offset: u64, whence: Whence) -> Result<u64> {
        let state = open.read();
        if offset >= self.content().len(&state)? {
            return Err(Errno::NXIO.into());
        }
        self.content().seek(&state, offset, whence)
    }

    /// Copies piece by piece. No two files are locked at once, so that no order among them matters.
    fn copy(
        &self,
        call: &Call,
        (source, from): (&OpenFile<C>, u64),
        (target, to): (&Arc<OpenFile<C>>, u64),
        len: u64,
    ) -> Result<u64> {
        let len = len.min(MOST_COPY);
        let mut buffer = vec![0; len.min(COPY_PIECE) as usize];
        let mut done = 0;
        while done < len {
            let piece = (len - done).min(COPY_PIECE) as usize;
            let moved =
                self.read(source, call, from + done, &mut buffer[..piece]).and_then(|read| {
                    if read > 0 {
                        self.write(target, call, to + done, &buffer[..read])?;
                    }
                    Ok(read as u64)
                });
            match moved {
                Ok(0) => break,
                Ok(moved) => done += moved,
                // Asking again for the rest finds the error.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Ends the work in the background.
    fn stop(&self) {
        self.open_files.shared.stop();
        if let Some(settler) = &self.settler {
            settler.stop();
        }
        if let Some(committer) = &self.committer {
            committer.stop();
        }
    }
}

/// Sets the size to show. Names of damaged files stay usable: they show what is stored.
fn set_size(attr: &mut Attr, len: Result<u64>, name: impl FnOnce() -> String) -> Result<()> {
    match len {
        Ok(len) => attr.size = len,
        Err(error @ Error::Lower(_)) => return Err(error),
        Err(error) => log::warn!("{}: {error}", name()),
    }
    Ok(())
}

impl<C: Content> Layer for ContentFs<C> {
    fn lower(&self) -> &Stack {
        self.lower()
    }

    fn lookup(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<Entry> {
        self.show(self.lower().lookup(call, parent, name)?)
    }

    fn forget(&self, ino: Ino, lookups: u64) -> bool {
        if let Some(settler) = &self.files.settler {
            settler.forget_unlinked(ino);
        }
        // An open file holds its inode, so it goes first. If the caller still knows the inode, it
        // is made again when it is needed.
        self.files.open_files.release(ino);
        self.lower().forget(ino, lookups)
    }

    fn getattr(&self, call: &Call, ino: Ino) -> Result<Attr> {
        match self.files.open_files.find(ino) {
            Use::Open(open) => self.files.attr(&open),
            Use::AtRest(_guard) => {
                let mut attr = self.lower().getattr(call, ino)?;
                self.files.show_at_rest(ino, &mut attr)?;
                Ok(attr)
            }
        }
    }

    fn setattr(&self, call: &Call, ino: Ino, changes: &SetAttr) -> Result<Attr> {
        if let Some(size) = changes.size {
            let open = self.open_file(ino)?;
            self.files.truncate(&open, call, size, changes)?;
            return self.files.attr(&open);
        }
        match self.files.open_files.find(ino) {
            Use::Open(open) => {
                if changes.atime.is_some() || changes.mtime.is_some() {
                    return self.files.set_times(&open, call, changes);
                }
                let state = open.read();
                let attr = self.lower().setattr(call, ino, changes)?;
                self.files.shown(&open, &state, attr)
            }
            Use::AtRest(_guard) => {
                let mut attr = self.lower().setattr(call, ino, changes)?;
                self.files.show_at_rest(ino, &mut attr)?;
                Ok(attr)
            }
        }
    }

    fn mknod(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32, rdev: u64) -> Result<Entry> {
        self.show(self.lower().mknod(call, parent, name, mode, rdev)?)
    }

    fn link(&self, call: &Call, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry> {
        self.show(self.lower().link(call, ino, parent, name)?)
    }

    fn open(&self, call: &Call, ino: Ino, flags: OpenFlags) -> Result<Opened> {
        let open = self.open_file(ino)?;
        let opened = self.content().opened(&open, call, flags)?;
        // Writes by the kernel are not seen here: the file waits to be settled from now on.
        if opened.passthrough
            && flags.writes()
            && let Some(settler) = &self.files.settler
            && open.note_write()
        {
            settler.note(ino);
        }
        Ok(opened)
    }

    fn release(&self, ino: Ino, handle: u64) -> Result<()> {
        self.content().released(&*self.open_file(ino)?, handle)
    }

    fn read(&self, call: &Call, ino: Ino, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        self.files.read(&*self.open_file(ino)?, call, offset, buffer)
    }

    fn write(&self, call: &Call, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        self.files.write(&self.open_file(ino)?, call, offset, data)
    }

    fn fsync(&self, _: &Call, ino: Ino, data_only: bool) -> Result<()> {
        self.content().sync(&*self.open_file(ino)?, data_only)
    }

    fn fallocate(
        &self,
        call: &Call,
        ino: Ino,
        mode: FallocateFlags,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        self.files.fallocate(&self.open_file(ino)?, call, mode, offset, len)
    }

    fn lseek(&self, _: &Call, ino: Ino, offset: u64, whence: Whence) -> Result<u64> {
        self.files.seek(&*self.open_file(ino)?, offset, whence)
    }

    fn copy_file_range(
        &self,
        call: &Call,
        from: (Ino, u64),
        to: (Ino, u64),
        len: u64,
    ) -> Result<u64> {
        let (source, target) = (self.open_file(from.0)?, self.open_file(to.0)?);
        self.files.copy(call, (&source, from.1), (&target, to.1), len)
    }

    fn setxattr(
        &self,
        call: &Call,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<()> {
        // The kernel takes capabilities with the next write below: none is to be left for later.
        if name == CAPABILITY
            && let Use::Open(open) = self.files.open_files.find(ino)
        {
            self.content().commit(&mut open.write())?;
        }
        self.lower().setxattr(call, ino, name, value, flags)
    }

    fn control_get(&self, call: &Call, ino: Ino, name: &str) -> Result<Vec<u8>> {
        if let ("settle", Some(settler)) = (name, &self.files.settler) {
            return Ok(settler.progress(call.uid).into_bytes());
        }
        if name == UNCOMMITTED && call.anonymous {
            return self.commit_all(call, ino);
        }
        if self.is_regular(ino)? {
            match self.content().describe(&*self.open_file(ino)?, name) {
                Err(Error::NoAttribute) => {}
                described => return described,
            }
        }
        self.lower().control_get(call, ino, name)
    }

    fn control_set(&self, call: &Call, ino: Ino, name: &str, value: &[u8]) -> Result<()> {
        if let ("settle", Some(settler)) = (name, &self.files.settler) {
            settler.settle_all(call.uid);
            return Ok(());
        }
        self.lower().control_set(call, ino, name, value)
    }

    fn file(&self, ino: Ino) -> Result<Arc<dyn LowerFile>> {
        let (open, lower) = (self.open_file(ino)?, self.lower().file(ino)?);
        Ok(Arc::new(ContentFile { files: Arc::clone(&self.files), open, lower }))
    }

    fn shutdown(&self) {
        self.files.stop();
        self.files.open_files.close_all();
        self.content().shutdown();
        self.lower().shutdown();
    }
}
