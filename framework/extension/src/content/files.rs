//! Regular files in use: what callers do with them, and what callers see of them.

use std::sync::Arc;

use super::committer::Committer;
use super::context::Context;
use super::open_files::{OpenFiles, Use};
use super::settler::Settler;
use crate::{
    Attr, Call, Content, Errno, Error, FallocateFlags, FileKind, Ino, OpenFile, Result, SetAttr,
    SetTime, Stack, Whence,
};

/// Bytes that a copy moves at a time, and in one call.
const COPY_PIECE: u64 = 256 << 10;
const MOST_COPY: u64 = 16 << 20;

/// The operations on files in use.
pub(super) struct Files<C: Content> {
    pub(super) open_files: Arc<OpenFiles<C>>,
    pub(super) settler: Option<Settler<C>>,
    pub(super) committer: Option<Committer<C>>,
}

impl<C: Content> Files<C> {
    pub(super) fn content(&self) -> &C {
        &self.open_files.content
    }

    fn lower(&self) -> &Stack {
        &*self.open_files.shared.lower
    }

    /// What users see of a file in use.
    pub(super) fn attr(&self, open: &OpenFile<C>) -> Result<Attr> {
        // Under the lock, so that size and times belong together.
        let state = open.read();
        self.shown(open, &state, open.lower_attr()?)
    }

    /// Turns the lower attributes of a file in use into those that users see.
    pub(super) fn shown(
        &self,
        open: &OpenFile<C>,
        state: &C::File,
        mut attr: Attr,
    ) -> Result<Attr> {
        let len = self.content().len_by(state, &attr);
        if let Some(ctime) = self.content().ctime(state, &attr) {
            attr.ctime = ctime;
        }
        if let Some(times) = self.content().times(state) {
            (attr.atime, attr.mtime) = (times.accessed, times.modified);
        }
        set_size(&mut attr, len, || open.path().display().to_string())?;
        Ok(attr)
    }

    /// Turns the lower attributes of a file that is not in use into those that users see. It does not come into use
    /// meanwhile.
    pub(super) fn show_at_rest(&self, ino: Ino, attr: &mut Attr) -> Result<()> {
        if attr.kind != FileKind::Regular || attr.size == 0 || self.open_files.is_plain(ino) {
            return Ok(());
        }
        let peeked = &self.open_files.peeked;
        if peeked.show(ino, attr) {
            return Ok(());
        }
        let context = Context::new(&self.open_files.shared, ino)?;
        let lower = attr.clone();
        let len = self.content().peek(&context, attr).map(|(len, ctime)| {
            attr.ctime = ctime.unwrap_or(attr.ctime);
            len
        });
        let is_known = len.is_ok();
        set_size(attr, len, || context.path().display().to_string())?;
        if is_known {
            peeked.note(ino, &lower, attr);
        }
        Ok(())
    }

    /// Sets attributes, and not the size, of a file in use.
    pub(super) fn set_attributes(
        &self,
        open: &OpenFile<C>,
        call: &Call,
        changes: &SetAttr,
    ) -> Result<Attr> {
        let mut state = open.write();
        let attr = self.lower().setattr(call, open.ino(), changes)?;
        self.content().attributes_changed(open, Some(&mut state));
        if changes.atime.is_some() || changes.mtime.is_some() {
            self.content().times_set(&mut state)?;
        }
        self.shown(open, &state, attr)
    }

    /// Attributes of a regular file have been changed below, other than those that [`Files::set_attributes`] sets.
    pub(super) fn attributes_changed(&self, ino: Ino) {
        match self.open_files.find(ino) {
            Use::Open(open) => {
                self.content().attributes_changed(&open, Some(&mut open.write()));
            }
            Use::AtRest(_guard) => self.changed_at_rest(ino),
        }
    }

    /// The same, of a file that does not come into use meanwhile.
    pub(super) fn changed_at_rest(&self, ino: Ino) {
        if self.content().keeps_ctime()
            && let Ok(context) = Context::new(&self.open_files.shared, ino)
        {
            self.content().attributes_changed(&context, None);
        }
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
    pub(super) fn copy(
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
    pub(super) fn stop(&self) {
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
