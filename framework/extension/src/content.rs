//! Content extensions: transform the bytes of regular files, and leave the rest to the host.

mod committer;
mod context;
mod file;
mod files;
mod fs;
mod open_file;
mod open_files;
mod peeked;
mod settler;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use context::Context;
pub use fs::{ContentFs, NOTICES, SETTLES, Scan, UNCOMMITTED};
pub use open_file::OpenFile;

use crate::{Attr, Call, Error, FallocateFlags, OpenFlags, Opened, Result, Times, Whence};

/// What [`Content::settle`] made of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// Nothing was left to do.
    Unchanged,
    /// The stored form changed, and with it the space used.
    Changed,
    /// Somebody used the file meanwhile: try again when it is quiet.
    Busy,
    /// It did not work out, and nothing was lost.
    Failed(Error),
}

/// An extension that transforms the bytes of regular files.
///
/// For every file in use the host keeps one [`Content::File`] behind a read-write lock: methods
/// that take `&File` run beside each other, those that take `&mut File` alone. Offsets and
/// lengths are *logical*, what users see; the lower file stores whatever the extension likes, but an empty
/// lower file is an empty file, for that is what a new one looks like. No method gets both a locked state
/// and what can lock it.
pub trait Content: Send + Sync + Sized + 'static {
    /// The state of one file in use.
    type File: Send + Sync + 'static;

    /// Starts to use a file.
    fn open(&self, context: &Context) -> Result<Self::File>;

    /// Logical length in bytes.
    fn len(&self, file: &Self::File) -> Result<u64>;

    /// Logical length of a file in use whose attributes below are `attr`. Worth overriding where it follows
    /// from them: they need not be asked for twice.
    fn len_by(&self, file: &Self::File, attr: &Attr) -> Result<u64> {
        let _ = attr;
        self.len(file)
    }

    /// Reads at `offset`; returns fewer bytes than asked for only at the end of the file.
    fn read(&self, file: &Self::File, call: &Call, offset: u64, buffer: &mut [u8])
    -> Result<usize>;

    /// Writes all of `data`, which is not empty, at `offset`, or fails. Past the end, the gap reads
    /// as zeros.
    fn write(&self, file: &mut Self::File, call: &Call, offset: u64, data: &[u8]) -> Result<()>;

    /// Truncates, or extends with zeros.
    fn set_len(&self, file: &mut Self::File, call: &Call, len: u64) -> Result<()>;

    /// Makes all that was written durable. Whether callers wait meanwhile is for the extension to
    /// choose: it takes the lock itself.
    fn sync(&self, file: &OpenFile<Self>, data_only: bool) -> Result<()>;

    /// Logical length of a file that is not in use and not empty, whose attributes below are `attr`. What it says may be shown
    /// for as long as size and `ctime` below are the same.
    /// Worth overriding where an extension knows it without opening the file, as from an [extended
    /// attribute](Context::xattr) that fits the inode: a stat then reads inodes alone.
    fn peek_len(&self, context: &Context, attr: &Attr) -> Result<u64> {
        let _ = attr;
        self.len(&self.open(context)?)
    }

    /// The same, and the `ctime` to show for it as [`Content::ctime`] has it.
    fn peek(&self, context: &Context, attr: &Attr) -> Result<(u64, Option<SystemTime>)> {
        Ok((self.peek_len(context, attr)?, None))
    }

    /// True if users see the attributes of the lower file as they are, so that nobody need [peek](Content::peek) while the file
    /// is not in use. Asked as it ceases to be, for nothing changes it until it is again.
    fn is_plain(&self, file: &Self::File) -> bool {
        let _ = file;
        false
    }

    /// Somebody opens the file. Called only where opens are dispatched
    /// ([`Declaration::opens`](crate::Declaration)); calls through this open come with the handle that is
    /// returned ([`Call::handle`]).
    fn opened(&self, file: &OpenFile<Self>, call: &Call, flags: OpenFlags) -> Result<Opened> {
        let (_, _, _) = (file, call, flags);
        Ok(Opened::default())
    }

    /// An open has ended. Called only where [`Content::opened`] is.
    fn released(&self, file: &OpenFile<Self>, handle: u64) -> Result<()> {
        let (_, _) = (file, handle);
        Ok(())
    }

    /// Allocates a range (flags empty or `KEEP_SIZE`), or makes it read as zeros (`PUNCH_HOLE`,
    /// `ZERO_RANGE`). Unless overridden, zeros are written and allocation is only extension.
    fn fallocate(
        &self,
        file: &mut Self::File,
        call: &Call,
        mode: FallocateFlags,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        fallocate_by_writing(self, file, call, mode, offset, len)
    }

    /// Finds the next data or hole at or after `offset`, which lies before the end. Unless
    /// overridden, everything is data.
    fn seek(&self, file: &Self::File, offset: u64, whence: Whence) -> Result<u64> {
        match whence {
            Whence::Data => Ok(offset),
            Whence::Hole => self.len(file),
        }
    }

    /// The times to show instead of those of the lower file, while the extension's own work disturbs
    /// them.
    fn times(&self, file: &Self::File) -> Option<Times> {
        let _ = file;
        None
    }

    /// The `ctime` to show for a file in use, whose attributes below are `attr`, instead of that of the lower file: the
    /// extension's own work has changed that one, and nothing that users see.
    fn ctime(&self, file: &Self::File, attr: &Attr) -> Option<SystemTime> {
        let (_, _) = (file, attr);
        None
    }

    /// True while a `ctime` that is shown could outlive a change of attributes that
    /// [`Content::attributes_changed`] is not told of.
    fn keeps_ctime(&self) -> bool {
        false
    }

    /// A caller has changed attributes of a file, its owner or number of links, say: the `ctime` of the lower file is the one
    /// to show again. The state of a file in use is locked; one that is not in use does not come into use meanwhile. Changes
    /// of files that are not in use, and of links and extended attributes of others, are reported only while
    /// [`Content::keeps_ctime`].
    fn attributes_changed(&self, context: &Context, file: Option<&mut Self::File>) {
        let (_, _) = (context, file);
    }

    /// A caller has just set times; the lower file's are as they shall be.
    fn times_set(&self, file: &mut Self::File) -> Result<()> {
        let _ = file;
        Ok(())
    }

    /// A caller has changed the file, which is still locked: what is to outlive the state, even a power
    /// cut, can go to the file's extended attributes.
    fn changed(&self, context: &Context, file: &mut Self::File) {
        let (_, _) = (context, file);
    }

    /// How long a change may wait before [`Content::commit`] is called for the file, whether it is being
    /// written still or not; `None`: never.
    fn commit_time(&self) -> Option<Duration> {
        None
    }

    /// Whatever only the state knows goes to the lower file, which need not be synced, so that `sync` or
    /// a power cut a while later saves it.
    fn commit(&self, file: &mut Self::File) -> Result<()> {
        let _ = file;
        Ok(())
    }

    /// The file goes out of use, unless somebody uses it again at once: whatever only the state
    /// knows goes to the lower file, which need not be synced. After an error the state is kept.
    fn close(&self, file: &mut Self::File) -> Result<()> {
        let _ = file;
        Ok(())
    }

    /// False while dropping the state would lose something even after [`Content::close`].
    fn is_idle(&self, file: &Self::File) -> bool {
        let _ = file;
        true
    }

    /// How long a file must be quiet before [`Content::settle`] is called for it; `None`: never.
    fn quiet_time(&self) -> Option<Duration> {
        None
    }

    /// Brings quiet files into their final form, one result for each, in order. Called from a
    /// thread of its own with no lock held; callers of these files go on meanwhile. Files for
    /// which [`OpenFile::is_wanted`] turns true are best answered [`Settled::Busy`] soon.
    fn settle(&self, files: &[Arc<OpenFile<Self>>]) -> Vec<Settled> {
        files.iter().map(|_| Settled::Unchanged).collect()
    }

    /// True if a file that is not quiet has something to bring into its final form already.
    fn has_past(&self, file: &Self::File) -> bool {
        let _ = file;
        false
    }

    /// Brings what is past of such a file into its final form. Called as [`Content::settle`] is.
    fn settle_past(&self, file: &Arc<OpenFile<Self>>) -> Settled {
        let _ = file;
        Settled::Unchanged
    }

    /// Answers [`control_get`](crate::FileSystem::control_get) about one file.
    fn describe(&self, file: &OpenFile<Self>, name: &str) -> Result<Vec<u8>> {
        let (_, _) = (file, name);
        Err(Error::NoAttribute)
    }

    /// The mount has ended and all files are closed.
    fn shutdown(&self) {}
}

/// Writes zeros from the end of a file up to `offset`, if that lies past it: for extensions whose
/// lower holes do not read as zeros.
pub fn fill_gap<C: Content>(
    content: &C,
    file: &mut C::File,
    call: &Call,
    offset: u64,
) -> Result<()> {
    let end = content.len(file)?;
    write_zeros(content, file, call, end, offset)
}

fn write_zeros<C: Content>(
    content: &C,
    file: &mut C::File,
    call: &Call,
    mut from: u64,
    to: u64,
) -> Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while from < to {
        let step = (to - from).min(ZEROS.len() as u64);
        content.write(file, call, from, &ZEROS[..step as usize])?;
        from += step;
    }
    Ok(())
}

/// The default of [`Content::fallocate`].
fn fallocate_by_writing<C: Content>(
    content: &C,
    file: &mut C::File,
    call: &Call,
    mode: FallocateFlags,
    offset: u64,
    len: u64,
) -> Result<()> {
    let known = FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE;
    if !known.contains(mode) {
        return Err(Error::Unsupported);
    }
    let size = content.len(file)?;
    let end = offset.checked_add(len).ok_or_else(|| Error::TooLarge("range".to_owned()))?;
    if mode.intersects(FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE) {
        write_zeros(content, file, call, offset, end.min(size))?;
    }
    if end > size && !mode.contains(FallocateFlags::KEEP_SIZE) {
        content.set_len(file, call, end)?;
    }
    Ok(())
}
