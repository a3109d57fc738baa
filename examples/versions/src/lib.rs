//! Keeps the last contents of each file: what `dir/plan` was before a change is there as `.versions/dir/plan~/1`, the
//! next as `2`, and so on. `ls -l` lists them with the times at which they were written, `cp` restores one.
//!
//! A content is kept before the first change after a time of rest, and before its name is removed or replaced. Versions
//! may be read by those who could read the file. Where one cannot be made, the change goes on and the log says so.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsci_extension::options::{OptionKind, OptionSpec};
use hsci_extension::*;
use parking_lot::Mutex;

/// Where versions are, at the root.
const PLACE: &str = ".versions";
/// A version that is not whole yet.
const NEW: &str = "new";
const PIECE: usize = 1 << 20;

/// When files were last changed, of those that have not rested since.
type Changed = Mutex<HashMap<Ino, Instant>>;

/// The extension.
pub struct Versions {
    lower: Arc<Stack>,
    kernel: Arc<dyn Kernel>,
    most: u64,
    rest: Duration,
    largest: u64,
    /// Locked while a version is made, so that a change waits for that of its own file; several, so that others do not.
    changed: [Changed; 64],
}

/// An inode that stays known for as long as this is there.
struct Hold<'a>(&'a Stack, Ino);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.forget(self.1, 1);
    }
}

impl Versions {
    fn changed(&self, ino: Ino) -> &Changed {
        &self.changed[ino.0 as usize % self.changed.len()]
    }

    /// Keeps the content of a file that is about to change, unless it has just changed.
    fn keep(&self, ino: Ino) {
        let (mut changed, now) = (self.changed(ino).lock(), Instant::now());
        if changed.insert(ino, now).is_some_and(|before| now - before < self.rest) {
            return;
        }
        changed.retain(|_, time| now - *time < self.rest);
        if let Err(error) = self.make_version(ino) {
            log::warn!("inode {}: its content is not kept: {error}", ino.0);
        }
    }

    /// The same for the file of a name that is about to be removed or replaced.
    fn keep_name(&self, parent: Ino, name: &OsStr) {
        if let Ok(entry) = self.lower.lookup(&Call::internal(), parent, name) {
            self.keep(entry.ino);
            self.lower.forget(entry.ino, 1);
        }
    }

    fn make_version(&self, ino: Ino) -> Result<()> {
        let call = Call::internal();
        let attr = self.lower.getattr(&call, ino)?;
        if attr.kind != FileKind::Regular || attr.size == 0 || attr.size > self.largest {
            return Ok(());
        }
        let (parent, mut history) = self.lower.parent(ino)?;
        let Some(place) = self.place(parent)? else { return Ok(()) };
        history.push("~");
        let directory = self.directory(place.1, &history, parent)?;
        self.copy(ino, &attr, directory.1)?;
        // There are no more than one listing holds.
        let listed = self.lower.readdir(&call, directory.1, 0, PIECE)?;
        let numbers = listed.iter().filter_map(|entry| entry.name.to_str()?.parse::<u64>().ok());
        let number = numbers.clone().max().map_or(1, |last| last + 1);
        let new = (directory.1, OsStr::new(NEW));
        let name = OsString::from(number.to_string());
        self.lower.rename(&call, new, (directory.1, &name), RenameFlags::empty())?;
        self.kernel.invalidate_entry(directory.1, &name);
        for old in numbers.filter(|old| *old + self.most <= number) {
            let name = OsString::from(old.to_string());
            self.lower.unlink(&call, directory.1, &name)?;
            self.kernel.invalidate_entry(directory.1, &name);
        }
        Ok(())
    }

    /// Where versions of the files in a directory are; nothing for versions themselves.
    fn place(&self, mut directory: Ino) -> Result<Option<Hold<'_>>> {
        let mut way = Vec::new();
        while directory != Ino::ROOT {
            let (parent, name) = self.lower.parent(directory)?;
            way.push((name, directory));
            directory = parent;
        }
        if way.last().is_some_and(|(name, _)| name == PLACE) {
            return Ok(None);
        }
        let mut place = self.directory(Ino::ROOT, OsStr::new(PLACE), Ino::ROOT)?;
        for (name, like) in way.iter().rev() {
            place = self.directory(place.1, name, *like)?;
        }
        Ok(Some(place))
    }

    /// A directory for versions, which is made if it is missing: for those who may use another one.
    fn directory(&self, parent: Ino, name: &OsStr, like: Ino) -> Result<Hold<'_>> {
        match self.lower.lookup(&Call::internal(), parent, name) {
            Err(Error::Lower(Errno::NOENT)) => {}
            found => return Ok(Hold(&*self.lower, found?.ino)),
        }
        let made = self.lower.mkdir(&Call::internal(), parent, name, 0o700)?;
        let made = Hold(&*self.lower, made.ino);
        self.give(made.1, like, (0o755, 0o700))?;
        self.kernel.invalidate_entry(parent, name);
        Ok(made)
    }

    /// Gives owner, times and mode of an inode to another one: of the mode what the first of two has, and always what
    /// the second has. Where a list says who else may use it, nobody else may.
    fn give(&self, to: Ino, from: Ino, (at_most, at_least): (u32, u32)) -> Result<()> {
        let call = Call::internal();
        let attr = self.lower.getattr(&call, from)?;
        let list = self.lower.getxattr(&call, from, OsStr::new("system.posix_acl_access"));
        let mut rights = SetAttr::of_owner(Some(attr.uid), Some(attr.gid));
        rights.mode = Some(at_least | if list.is_ok() { 0 } else { attr.mode & at_most });
        (rights.atime, rights.mtime) =
            (Some(SetTime::At(attr.atime)), Some(SetTime::At(attr.mtime)));
        self.lower.setattr(&call, to, &rights).map(drop)
    }

    /// Copies a content to [`NEW`], for those who may read it.
    fn copy(&self, from: Ino, attr: &Attr, directory: Ino) -> Result<()> {
        let call = Call::internal();
        let by = Call::on_behalf_of(Credentials::new(attr.uid, attr.gid));
        // A worker may have been killed here.
        let _ = self.lower.unlink(&call, directory, OsStr::new(NEW));
        let made = self.lower.mknod(&call, directory, OsStr::new(NEW), 0o100_600, 0)?;
        let made = Hold(&*self.lower, made.ino);
        let (mut buffer, mut done) = (vec![0; PIECE], 0);
        while let read @ 1.. = self.lower.read(&call, from, done, &mut buffer)? {
            self.lower.write(&by, made.1, done, &buffer[..read])?;
            done += read as u64;
        }
        self.give(made.1, from, (0o444, 0o400))
    }
}

impl Layer for Versions {
    fn lower(&self) -> &Stack {
        &*self.lower
    }

    fn write(&self, call: &Call, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        self.keep(ino);
        self.lower.write(call, ino, offset, data)
    }

    fn setattr(&self, call: &Call, ino: Ino, changes: &SetAttr) -> Result<Attr> {
        if changes.size.is_some() {
            self.keep(ino);
        }
        self.lower.setattr(call, ino, changes)
    }

    fn fallocate(
        &self,
        call: &Call,
        ino: Ino,
        mode: FallocateFlags,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        self.keep(ino);
        self.lower.fallocate(call, ino, mode, offset, len)
    }

    fn copy_file_range(
        &self,
        call: &Call,
        from: (Ino, u64),
        to: (Ino, u64),
        len: u64,
    ) -> Result<u64> {
        self.keep(to.0);
        self.lower.copy_file_range(call, from, to, len)
    }

    /// A new file has no content that is worth keeping until it rests.
    fn mknod(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32, rdev: u64) -> Result<Entry> {
        let entry = self.lower.mknod(call, parent, name, mode, rdev)?;
        self.changed(entry.ino).lock().insert(entry.ino, Instant::now());
        Ok(entry)
    }

    fn unlink(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        self.keep_name(parent, name);
        self.lower.unlink(call, parent, name)
    }

    fn rename(
        &self,
        call: &Call,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        if from == (Ino::ROOT, OsStr::new(PLACE)) {
            return Err(Error::NotPermitted("versions stay where they are".to_owned()));
        }
        self.keep_name(to.0, to.1);
        self.lower.rename(call, from, to, flags)
    }
}

impl Extension for Versions {
    const NAME: &'static str = "versions";
    const ABOUT: &'static str = "keeps the last contents of each file; an example";
    const FORMAT_VERSION: u32 = 0;

    fn options() -> Vec<OptionSpec> {
        let most = OptionKind::Number { min: 1, max: 1000 };
        let size = OptionKind::Size { min: 1, max: 1 << 40 };
        vec![
            OptionSpec::new("keep", "how many contents of a file are kept", most, "10"),
            OptionSpec::new("rest", "rest after which a content is kept", OptionKind::Time, "10"),
            OptionSpec::new("largest", "longest file that has versions", size, "64M"),
        ]
    }

    fn start(environment: &Environment) -> Result<Arc<Stack>> {
        let Environment { lower, kernel, options, .. } = environment.clone();
        let (most, largest) = (options.number("keep"), options.size("largest"));
        let (rest, changed) = (options.time("rest"), std::array::from_fn(|_| Mutex::default()));
        Ok(Arc::new(Self { lower, kernel, most, rest, largest, changed }))
    }
}

#[cfg(test)]
mod tests;
