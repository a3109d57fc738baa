//! The adapter that makes a content extension a file system.

use std::ffi::OsStr;
use std::sync::Arc;

use super::committer::Committer;
use super::file::ContentFile;
use super::files::Files;
use super::open_file::Shared;
use super::open_files::{OpenFiles, Use};
use super::settler::Settler;
use crate::{
    Attr, Call, Content, Entry, Environment, Error, FallocateFlags, FileKind, Ino, Layer,
    LowerFile, OpenFile, OpenFlags, Opened, RenameFlags, Result, SetAttr, Stack, Whence,
    XattrFlags,
};

/// What the host asks of before it ends the mount: it commits all files, and the answer names those that
/// cannot be committed, a line for each.
pub const UNCOMMITTED: &str = "uncommitted";

/// What the host asks of after the start and for a status: the answer is a JSON array of texts, each about something that
/// those who mount the store have to know, and what they can do about it.
pub const NOTICES: &str = "notices";

/// What the host asks of for a status: a line for each layer that settles files, `{"changed":n,"failed":n,"pending":n}`:
/// files that settling has changed or could not, since the start, and files that wait for it.
pub const SETTLES: &str = "settles";

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
/// how far that is: `{"done":n,"total":n|null,"running":bool,"failed":n,"bytes":n,"total_bytes":n|null}`; `unsettled` names the first
/// of those that failed, and says why. Other names that the extension [describes](Content::describe) can be asked of regular files.
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

    /// What settling has come to, here and below.
    fn settles(&self, call: &Call, ino: Ino) -> Result<Vec<u8>> {
        let mut lines = match self.lower().control_get(call, ino, SETTLES) {
            Err(Error::NoAttribute) => Vec::new(),
            below => below?,
        };
        if let Some(settler) = &self.files.settler {
            lines.extend((settler.counts() + "\n").as_bytes());
        }
        Ok(lines)
    }

    fn is_regular(&self, ino: Ino) -> Result<bool> {
        Ok(self.lower().getattr(&Call::internal(), ino)?.kind == FileKind::Regular)
    }

    /// Attributes of an inode of whatever kind have been changed below.
    fn note_change(&self, ino: Ino) {
        if self.content().keeps_ctime() && self.is_regular(ino).unwrap_or(false) {
            self.files.attributes_changed(ino);
        }
    }

    /// The regular file that has a name, for a call that is about to change its links, where that matters.
    fn named(&self, parent: Ino, name: &OsStr) -> Option<Named<'_, C>> {
        if !self.content().keeps_ctime() {
            return None;
        }
        let entry = self.lower().lookup(&Call::internal(), parent, name).ok()?;
        let is_regular = entry.attr.kind == FileKind::Regular;
        Some(Named { fs: self, ino: entry.ino, is_regular })
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

/// A file whose links a call changes; its attributes count as changed when this goes.
struct Named<'a, C: Content> {
    fs: &'a ContentFs<C>,
    ino: Ino,
    is_regular: bool,
}

impl<C: Content> Drop for Named<'_, C> {
    fn drop(&mut self) {
        if self.is_regular {
            self.fs.files.attributes_changed(self.ino);
        }
        self.fs.lower().forget(self.ino, 1);
    }
}

impl<C: Content> Drop for ContentFs<C> {
    fn drop(&mut self) {
        self.files.stop();
    }
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
        let is_gone = self.lower().forget(ino, lookups);
        if is_gone {
            self.files.open_files.forget(ino);
        }
        is_gone
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
            Use::Open(open) => self.files.set_attributes(&open, call, changes),
            Use::AtRest(_guard) => {
                let mut attr = self.lower().setattr(call, ino, changes)?;
                if attr.kind == FileKind::Regular {
                    self.files.changed_at_rest(ino);
                }
                self.files.show_at_rest(ino, &mut attr)?;
                Ok(attr)
            }
        }
    }

    fn mknod(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32, rdev: u64) -> Result<Entry> {
        self.show(self.lower().mknod(call, parent, name, mode, rdev)?)
    }

    fn link(&self, call: &Call, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry> {
        let entry = self.lower().link(call, ino, parent, name)?;
        if entry.attr.kind == FileKind::Regular {
            self.files.attributes_changed(ino);
        }
        self.show(entry)
    }

    fn unlink(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        let other_links = self.named(parent, name);
        self.lower().unlink(call, parent, name)?;
        drop(other_links);
        Ok(())
    }

    fn rename(
        &self,
        call: &Call,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        let files = [from, to].map(|(parent, name)| self.named(parent, name));
        self.lower().rename(call, from, to, flags)?;
        drop(files);
        Ok(())
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
        self.lower().setxattr(call, ino, name, value, flags)?;
        self.note_change(ino);
        Ok(())
    }

    fn removexattr(&self, call: &Call, ino: Ino, name: &OsStr) -> Result<()> {
        self.lower().removexattr(call, ino, name)?;
        self.note_change(ino);
        Ok(())
    }

    fn control_get(&self, call: &Call, ino: Ino, name: &str) -> Result<Vec<u8>> {
        if let ("settle", Some(settler)) = (name, &self.files.settler) {
            return Ok(settler.progress(call.uid).into_bytes());
        }
        if let ("unsettled", Some(settler)) = (name, &self.files.settler) {
            return Ok(settler.failed(call.uid).into_bytes());
        }
        if name == UNCOMMITTED && call.anonymous {
            return self.commit_all(call, ino);
        }
        if name == SETTLES && call.anonymous {
            return self.settles(call, ino);
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
