//! A directory to which operations are applied, and what it answers.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hsci_tests::sys::Map;
use hsci_tests::{Random, tree};
use rustix::fs::{self, AtFlags, CWD, FallocateFlags, FileType, Mode, RenameFlags, XattrFlags};
use rustix::io::Errno;

use super::operation::{Data, Name, Operation, Pick};

/// Files are kept below this size, so that a run stays fast.
const MAX_LEN: u64 = 2 << 20;
/// Bits of a mode that any file may have.
const MODES: u32 = 0o7777;

/// What an operation answers: a number that stands for all that was seen, or the errno.
pub(crate) type Answer = Result<u64, Errno>;

/// A directory, and the names known in it. Two worlds that answer alike know the same names.
pub(crate) struct World {
    root: PathBuf,
    /// Directories relative to the root, which is the first.
    dirs: Vec<PathBuf>,
    /// Everything else that has a name.
    files: Vec<PathBuf>,
    held: [Option<File>; 4],
}

impl World {
    pub(crate) fn new(root: &Path) -> Self {
        let held = Default::default();
        Self { root: root.to_owned(), dirs: vec![PathBuf::new()], files: Vec::new(), held }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Closes the files that are held open.
    pub(crate) fn let_go(&mut self) {
        self.held = Default::default();
    }

    pub(crate) fn apply(&mut self, operation: &Operation) -> Answer {
        use Operation as O;
        match *operation {
            O::Create { .. }
            | O::MakeDir { .. }
            | O::MakeSymlink { .. }
            | O::MakePipe { .. }
            | O::Link { .. }
            | O::Unlink { .. }
            | O::RemoveDir { .. }
            | O::Rename { .. }
            | O::Exchange { .. } => self.apply_to_names(operation),
            O::Chmod { .. }
            | O::Chown { .. }
            | O::SetTime { .. }
            | O::SetXattr { .. }
            | O::RemoveXattr { .. } => self.apply_to_attributes(operation),
            O::Hold { file, slot } => {
                self.held[slot as usize % 4] = Some(open(&self.file(file)?)?);
                Ok(0)
            }
            O::WriteHeld { slot, data } => match &self.held[slot as usize % 4] {
                Some(file) => write(file, data),
                None => Ok(0),
            },
            O::ReadHeld { slot, data } => match &self.held[slot as usize % 4] {
                Some(file) => read(file, data),
                None => Ok(0),
            },
            _ => self.apply_to_data(operation),
        }
    }

    fn apply_to_names(&mut self, operation: &Operation) -> Answer {
        use Operation as O;
        match *operation {
            O::Create { dir, name, mode } => {
                let path = self.new_name(dir, name);
                let mut options = OpenOptions::new();
                options.write(true).create_new(true).mode(mode);
                errno(options.open(self.root.join(&path)))?;
                self.files.push(path.clone());
                self.seen(&path)
            }
            O::MakeDir { dir, name, mode } => {
                let path = self.new_name(dir, name);
                fs::mkdir(self.root.join(&path), Mode::from_raw_mode(mode))?;
                self.dirs.push(path.clone());
                self.seen(&path)
            }
            O::MakeSymlink { dir, name, target } => {
                let path = self.new_name(dir, name);
                fs::symlink(format!("n{}", target % 12), self.root.join(&path))?;
                self.files.push(path.clone());
                self.seen(&path)
            }
            O::MakePipe { dir, name } => {
                let path = self.new_name(dir, name);
                let mode = Mode::from_raw_mode(0o600);
                fs::mknodat(CWD, self.root.join(&path), FileType::Fifo, mode, 0)?;
                self.files.push(path.clone());
                self.seen(&path)
            }
            O::Link { file, dir, name } => {
                let path = self.new_name(dir, name);
                fs::link(self.file(file)?, self.root.join(&path))?;
                self.files.push(path.clone());
                self.seen(&path)
            }
            O::Unlink { file } => {
                fs::unlink(self.file(file)?)?;
                let index = file as usize % self.files.len();
                self.files.remove(index);
                Ok(0)
            }
            O::RemoveDir { dir } => {
                let index = dir as usize % self.dirs.len();
                if index == 0 {
                    return Ok(0);
                }
                fs::rmdir(self.root.join(&self.dirs[index]))?;
                self.dirs.remove(index);
                Ok(0)
            }
            O::Rename { from, dir, name, keep } => self.rename(from, dir, name, keep),
            O::Exchange { one, other } => self.exchange(one, other),
            _ => unreachable!("only operations on names"),
        }
    }

    fn rename(&mut self, from: Pick, dir: Pick, name: Name, keep: bool) -> Answer {
        let from = self.any(from);
        let to = self.new_name(dir, name);
        if from.as_os_str().is_empty() {
            return Ok(0);
        }
        let flags = if keep { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
        let (old, new) = (self.root.join(&from), self.root.join(&to));
        let inode = |path| std::fs::symlink_metadata(path).ok().map(|meta| meta.ino());
        let same = inode(&old).is_some() && inode(&old) == inode(&new);
        fs::renameat_with(CWD, &old, CWD, &new, flags)?;
        if same {
            return Ok(1);
        }
        self.dirs.retain(|dir| *dir != to);
        self.files.retain(|file| *file != to);
        self.replace_prefix(&from, &to);
        self.seen(&to)
    }

    fn exchange(&mut self, one: Pick, other: Pick) -> Answer {
        let (one, other) = (self.any(one), self.any(other));
        if one.as_os_str().is_empty() || other.as_os_str().is_empty() {
            return Ok(0);
        }
        let (left, right) = (self.root.join(&one), self.root.join(&other));
        fs::renameat_with(CWD, left, CWD, right, RenameFlags::EXCHANGE)?;
        if one != other {
            let between = PathBuf::from("between");
            self.replace_prefix(&one, &between);
            self.replace_prefix(&other, &one);
            self.replace_prefix(&between, &other);
        }
        self.seen(&one)
    }

    fn replace_prefix(&mut self, from: &Path, to: &Path) {
        for path in self.dirs.iter_mut().chain(&mut self.files) {
            if path == from {
                to.clone_into(path);
            } else if let Ok(rest) = path.strip_prefix(from) {
                *path = to.join(rest);
            }
        }
    }

    fn apply_to_data(&self, operation: &Operation) -> Answer {
        use Operation as O;
        match *operation {
            O::Write { file, data } => write(&open(&self.file(file)?)?, data),
            O::Rewrite { file, data } => {
                let path = self.regular(file)?;
                let file = errno(OpenOptions::new().write(true).truncate(true).open(path))?;
                write(&file, Data { offset: 0, ..data })
            }
            O::Append { file, data } => {
                let file = open_regular(&self.file(file)?, OpenOptions::new().append(true))?;
                let len = length(&file)?;
                if len + data.len as u64 <= MAX_LEN {
                    errno(std::io::Write::write_all(&mut &file, &bytes(data)))?;
                }
                length(&file)
            }
            O::Read { file, data } => read(&open(&self.file(file)?)?, data),
            O::MapWrite { file, data } => map_write(&open(&self.file(file)?)?, data),
            O::MapRead { file } => map_read(&open(&self.file(file)?)?),
            O::Truncate { file, len } => {
                let file = open(&self.file(file)?)?;
                errno(file.set_len(len))?;
                length(&file)
            }
            O::Punch { file, offset, len } => {
                let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                allocate(&open(&self.file(file)?)?, mode, offset, len)
            }
            O::Zero { file, offset, len } => {
                allocate(&open(&self.file(file)?)?, FallocateFlags::ZERO_RANGE, offset, len)
            }
            O::Allocate { file, offset, len, keep_size } => {
                let flags = FallocateFlags::KEEP_SIZE;
                let mode = if keep_size { flags } else { FallocateFlags::empty() };
                allocate(&open(&self.file(file)?)?, mode, offset, len)
            }
            O::Copy { from, to, offset, data } => {
                let (from, to) = (open(&self.file(from)?)?, open(&self.file(to)?)?);
                copy(&from, &to, offset, data)
            }
            O::Sync { file } => errno(open(&self.file(file)?)?.sync_data()).map(|()| 0),
            _ => unreachable!("only operations on data"),
        }
    }

    fn apply_to_attributes(&self, operation: &Operation) -> Answer {
        use Operation as O;
        let any = match *operation {
            O::Chmod { any, .. }
            | O::Chown { any, .. }
            | O::SetTime { any, .. }
            | O::SetXattr { any, .. }
            | O::RemoveXattr { any, .. } => self.any(any),
            _ => unreachable!("only operations on attributes"),
        };
        let path = self.root.join(&any);
        match *operation {
            O::Chmod { mode, .. } if !path.is_symlink() => {
                fs::chmod(&path, Mode::from_raw_mode(mode & MODES))?;
            }
            O::Chown { id, .. } => errno(std::os::unix::fs::lchown(&path, Some(id), Some(id)))?,
            O::SetTime { seconds, nanos, .. } => {
                let time = fs::Timespec { tv_sec: i64::from(seconds), tv_nsec: i64::from(nanos) };
                let times = fs::Timestamps { last_access: time, last_modification: time };
                fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            O::SetXattr { name, len, .. } => {
                let name = format!("user.test{}", name % 4);
                let value = vec![len; usize::from(len)];
                fs::lsetxattr(&path, name, &value, XattrFlags::empty())?;
            }
            O::RemoveXattr { name, .. } => {
                fs::lremovexattr(&path, format!("user.test{}", name % 4))?;
            }
            _ => {}
        }
        self.seen(&any)
    }

    fn new_name(&self, dir: Pick, name: Name) -> PathBuf {
        self.dirs[dir as usize % self.dirs.len()].join(format!("n{}", name % 12))
    }

    /// The absolute path of a file; ENOENT while there is none.
    fn file(&self, file: Pick) -> Result<PathBuf, Errno> {
        let count = self.files.len();
        let index = (file as usize).checked_rem(count).ok_or(Errno::NOENT)?;
        Ok(self.root.join(&self.files[index]))
    }

    /// The absolute path of a regular file; other kinds are EINVAL.
    fn regular(&self, file: Pick) -> Result<PathBuf, Errno> {
        let path = self.file(file)?;
        let kind = errno(std::fs::symlink_metadata(&path))?.file_type();
        if kind.is_file() { Ok(path) } else { Err(Errno::INVAL) }
    }

    /// A file or directory, relative.
    fn any(&self, any: Pick) -> PathBuf {
        let index = any as usize % (self.files.len() + self.dirs.len());
        self.files.get(index).unwrap_or_else(|| &self.dirs[index - self.files.len()]).clone()
    }

    /// What `stat` tells, apart from times and inode numbers.
    fn seen(&self, path: &Path) -> Answer {
        let meta = errno(std::fs::symlink_metadata(self.root.join(path)))?;
        let size = if meta.is_dir() { 0 } else { meta.size() };
        let facts = [u64::from(meta.mode()), meta.nlink(), size, meta.uid().into()];
        Ok(facts.into_iter().fold(0, |sum: u64, fact| sum.wrapping_mul(1_000_003) ^ fact))
    }
}

/// What differs between two trees. Times that no operation has set come from the clock, and the
/// two worlds act one after the other: such times may lie a few seconds apart.
pub(crate) fn differences(ours: &Path, plain: &Path) -> Vec<String> {
    let leave = tree::Leave { clock: true, ..tree::Leave::default() };
    tree::differences(&tree::facts(ours, leave), &tree::facts(plain, leave))
}

fn errno<T>(result: std::io::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Opens a regular file for reading and writing; never follows a link, nor waits for a pipe.
fn open(path: &Path) -> Result<File, Errno> {
    open_regular(path, OpenOptions::new().read(true).write(true))
}

fn open_regular(path: &Path, options: &mut OpenOptions) -> Result<File, Errno> {
    if !errno(std::fs::symlink_metadata(path))?.is_file() {
        return Err(Errno::INVAL);
    }
    errno(options.open(path))
}

fn bytes(data: Data) -> Vec<u8> {
    Random::new(data.seed).bytes(data.len, !data.seed.is_multiple_of(4))
}

fn length(file: &File) -> Answer {
    Ok(errno(file.metadata())?.size())
}

fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(bytes.len() as u64, |sum, byte| {
        sum.wrapping_mul(0x0100_0000_01B3).wrapping_add(u64::from(*byte))
    })
}

fn write(file: &File, data: Data) -> Answer {
    errno(file.write_all_at(&bytes(data), data.offset))?;
    length(file)
}

fn read(file: &File, data: Data) -> Answer {
    let mut buffer = vec![0; data.len];
    let mut filled = 0;
    while filled < buffer.len() {
        match errno(file.read_at(&mut buffer[filled..], data.offset + filled as u64))? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(digest(&buffer[..filled]))
}

fn map_write(file: &File, data: Data) -> Answer {
    let len = length(file)?;
    let offset = data.offset.checked_rem(len).unwrap_or(0);
    let bytes = bytes(Data { len: data.len.min((len - offset) as usize), ..data });
    if len > 0 {
        errno(Map::new(file, len as usize))?.write(offset as usize, &bytes);
    }
    length(file)
}

fn map_read(file: &File) -> Answer {
    let mut buffer = vec![0; length(file)? as usize];
    if !buffer.is_empty() {
        errno(Map::new(file, buffer.len()))?.read(0, &mut buffer);
    }
    Ok(digest(&buffer))
}

fn allocate(file: &File, mode: FallocateFlags, offset: u64, len: u64) -> Answer {
    fs::fallocate(file, mode, offset, len)?;
    length(file)
}

/// Copies in pieces until the end of the source; how a copy is split is nobody's business.
fn copy(from: &File, to: &File, offset: u64, data: Data) -> Answer {
    let (mut source, mut target) = (data.offset, offset);
    let mut left = data.len;
    while left > 0 {
        match fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), left)? {
            0 => break,
            copied => left -= copied,
        }
    }
    length(to)
}
