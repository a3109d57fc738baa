//! A directory of a real file system.

use std::fs::{File, FileTimes, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, SeekFrom};

use super::subject::{Stat, Subject};
use crate::{Errno, FallocateFlags, RenameFlags, Result, Times, Whence};

pub(super) struct Directory<'a> {
    path: PathBuf,
    disturb: &'a (dyn Fn() + Sync),
}

impl<'a> Directory<'a> {
    pub(super) fn start(above: &Path, name: &str, disturb: &'a (dyn Fn() + Sync)) -> Result<Self> {
        let path = above.join(name);
        std::fs::create_dir(&path)?;
        Ok(Self { path, disturb })
    }
}

fn stat(found: &std::fs::Metadata) -> Result<Stat> {
    Ok(Stat {
        ino: found.ino(),
        size: found.size(),
        nlink: found.nlink(),
        mode: found.mode() & 0o7777,
        modified: found.modified()?,
    })
}

impl Subject for Directory<'_> {
    type File = File;

    fn create(&self, name: &str) -> Result<File> {
        let mut options = OpenOptions::new();
        Ok(options.read(true).write(true).create_new(true).open(self.path.join(name))?)
    }

    fn open(&self, name: &str) -> Result<File> {
        Ok(OpenOptions::new().read(true).write(true).open(self.path.join(name))?)
    }

    fn read(&self, file: &File, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0xee; len];
        let mut done = 0;
        while done < len {
            match file.read_at(&mut bytes[done..], offset + done as u64)? {
                0 => break,
                read => done += read,
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }

    fn write(&self, file: &File, offset: u64, data: &[u8]) -> Result<()> {
        Ok(file.write_all_at(data, offset)?)
    }

    fn set_len(&self, file: &File, len: u64) -> Result<()> {
        Ok(file.set_len(len)?)
    }

    fn set_times(&self, file: &File, times: &Times) -> Result<()> {
        let times = FileTimes::new().set_accessed(times.accessed).set_modified(times.modified);
        Ok(file.set_times(times)?)
    }

    fn sync(&self, file: &File) -> Result<()> {
        Ok(file.sync_all()?)
    }

    fn allocate(&self, file: &File, mode: FallocateFlags, offset: u64, len: u64) -> Result<()> {
        let mode = rustix::fs::FallocateFlags::from_bits_retain(mode.bits());
        Ok(rustix::fs::fallocate(file, mode, offset, len)?)
    }

    fn seek(&self, file: &File, offset: u64, whence: Whence) -> Result<u64> {
        let from = match whence {
            Whence::Data => SeekFrom::Data(offset),
            Whence::Hole => SeekFrom::Hole(offset),
        };
        Ok(rustix::fs::seek(file, from)?)
    }

    fn copy(&self, from: (&File, u64), to: (&File, u64), len: u64) -> Result<u64> {
        let (mut at, mut into) = (from.1, to.1);
        let len = usize::try_from(len).map_err(|_| Errno::INVAL)?;
        let copied =
            rustix::fs::copy_file_range(from.0, Some(&mut at), to.0, Some(&mut into), len)?;
        Ok(copied as u64)
    }

    fn stat(&self, file: &File) -> Result<Stat> {
        stat(&file.metadata()?)
    }

    fn stat_name(&self, name: &str) -> Result<Stat> {
        stat(&std::fs::symlink_metadata(self.path.join(name))?)
    }

    fn link(&self, from: &str, to: &str) -> Result<()> {
        Ok(std::fs::hard_link(self.path.join(from), self.path.join(to))?)
    }

    fn unlink(&self, name: &str) -> Result<()> {
        Ok(std::fs::remove_file(self.path.join(name))?)
    }

    fn rename(&self, from: &str, to: &str, flags: RenameFlags) -> Result<()> {
        let (from, to) = (self.path.join(from), self.path.join(to));
        let flags = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        Ok(rustix::fs::renameat_with(CWD, from, CWD, to, flags)?)
    }

    fn list(&self) -> Result<Vec<String>> {
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            Ok(entry?.file_name().to_string_lossy().into_owned())
        };
        std::fs::read_dir(&self.path)?.map(name).collect()
    }

    fn disturb(&self) {
        (self.disturb)();
    }

    fn clean(self) -> Result<()> {
        Ok(std::fs::remove_dir_all(&self.path)?)
    }
}
