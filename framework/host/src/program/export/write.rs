//! The side that writes. What it is asked for comes from a process that reads what others wrote, and is believed as
//! little as they are: it makes new names below the destination, and gives the rights that it was told to give.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::io::{Errno, Result};

use super::order::{Finish, Kind, Order, Reply};
use super::{MAX_DEPTH, Target, made};
use crate::failure::{Exit, Failure};
use crate::passing::{parse, receive, send};
use crate::program::warn;

/// The largest value of an attribute, and a head.
const MOST: usize = (64 << 10) + 4096;

/// A name that is to be made, in a directory that is open.
pub(super) struct Spot<'a> {
    pub(super) directory: BorrowedFd<'a>,
    pub(super) name: &'a OsStr,
}

/// Something that was made and is not complete.
struct Made {
    file: OwnedFd,
    is_symlink: bool,
    /// Its whole path, for messages.
    shown: PathBuf,
}

/// The writing side of an export.
struct Export<'a> {
    target: &'a Target<'a>,
    privileged: bool,
    /// The directories that are open, the topmost first.
    levels: Vec<(Made, OsString)>,
    /// What was made last, and is no directory.
    last: Option<Made>,
    /// The first name of each inode with several, from the topmost directory on.
    first: HashMap<u64, PathBuf>,
    /// What was sent whole is not made, so that what is said of it does not count.
    is_passed_over: bool,
    /// Why its content is not complete.
    trouble: Option<std::io::Error>,
    /// The destination is made.
    is_begun: bool,
    failed: u64,
    left_out: u64,
}

/// Makes what is asked for on a socket, until all is done.
pub(crate) fn write(
    socket: &OwnedFd,
    target: &Target<'_>,
    privileged: bool,
) -> std::result::Result<(), Failure> {
    let mut export = Export {
        target,
        privileged,
        levels: Vec::new(),
        last: None,
        first: HashMap::new(),
        is_passed_over: false,
        trouble: None,
        is_begun: false,
        failed: 0,
        left_out: 0,
    };
    let is_complete = export.run(socket);
    if export.left_out > 0 {
        let what = "devices, set-id bits or security attributes";
        warn(&format!("{} {what} are left out; see --privileged", export.left_out));
    }
    match export.failed {
        0 if is_complete => Ok(()),
        0 => Err(Failure::new(Exit::Internal, "the export ended before all was copied")),
        1 => Err(Failure::new(Exit::No, "1 file could not be copied whole")),
        failed => Err(Failure::new(Exit::No, format!("{failed} files could not be copied whole"))),
    }
}

impl Export<'_> {
    /// False if the reader ends before all is done.
    fn run(&mut self, socket: &OwnedFd) -> bool {
        let mut buffer = vec![0; MOST];
        while let Ok((len @ 1.., _)) = receive(socket, &mut buffer) {
            let Some((order, bytes)) = parse::<Order>(&buffer[..len]) else { return false };
            match order {
                Order::Make { name, kind, link } => {
                    let (reply, file) = self.make(name.as_os_str(), (kind, link), bytes);
                    let file = file.as_ref().map(AsFd::as_fd);
                    if send(socket, &reply, &[], file.as_slice()).is_err() {
                        return false;
                    }
                }
                Order::Whole { name, link } => {
                    let (reply, file) = self.make(name.as_os_str(), (Kind::File, link), &[]);
                    self.is_passed_over = reply != Reply::Made;
                    self.trouble = file.and_then(|file| File::from(file).write_all(bytes).err());
                }
                Order::Xattr { .. } if self.is_passed_over => {}
                Order::Xattr { name } => self.set_xattr(name.as_os_str(), bytes),
                Order::Finish(_) if std::mem::take(&mut self.is_passed_over) => {}
                Order::Finish(finish) => match self.trouble.take() {
                    Some(error) => self.finish(&finish, error.to_string().as_bytes()),
                    None => self.finish(&finish, bytes),
                },
                Order::Warn { name, failed } => {
                    self.failed += u64::from(failed);
                    say(&self.shown(name.as_os_str()), bytes);
                }
                Order::End => return true,
            }
        }
        false
    }

    fn shown(&self, name: &OsStr) -> PathBuf {
        match self.levels.last() {
            Some((directory, _)) => directory.shown.join(name),
            None => self.target.shown.to_owned(),
        }
    }

    fn make(
        &mut self,
        name: &OsStr,
        what: (Kind, Option<u64>),
        bytes: &[u8],
    ) -> (Reply, Option<OwnedFd>) {
        self.try_make(name, what, bytes).unwrap_or_else(|errno| {
            self.failed += 1;
            say(&self.shown(name), std::io::Error::from(errno).to_string().as_bytes());
            (Reply::Failed, None)
        })
    }

    fn try_make(
        &mut self,
        name: &OsStr,
        (kind, link): (Kind, Option<u64>),
        bytes: &[u8],
    ) -> Result<(Reply, Option<OwnedFd>)> {
        let shown = self.shown(name);
        let Self { target, levels, .. } = self;
        // The reader has no say in where the copy begins, and that is made once.
        let (directory, name) = match levels.last() {
            Some((directory, _)) => (directory.file.as_fd(), one_name(name)?),
            None if self.is_begun => return Err(Errno::PERM),
            None => (target.parent.as_fd(), &*target.name),
        };
        let spot = Spot { directory, name };
        self.is_begun = true;
        let way = levels.iter().skip(1).map(|(_, name)| &**name).chain([name]).collect::<PathBuf>();
        if let (Some(first), Some((root, _))) =
            (link.and_then(|link| self.first.get(&link)), levels.first())
        {
            made::link(root.file.as_fd(), first, &spot)?;
            return Ok((Reply::Complete, None));
        }
        if matches!(kind, Kind::CharDevice(_) | Kind::BlockDevice(_)) && !self.privileged {
            self.left_out += 1;
            return Ok((Reply::Complete, None));
        }
        let file = match kind {
            Kind::Directory if levels.len() == MAX_DEPTH => return Err(Errno::NAMETOOLONG),
            Kind::Directory => made::directory(&spot)?,
            Kind::File => made::file(&spot)?,
            Kind::Symlink => made::symlink(&spot, OsStr::from_bytes(bytes))?,
            _ => made::special(&spot, kind)?,
        };
        let name = name.to_owned();
        let made = Made { file, is_symlink: kind == Kind::Symlink, shown };
        if kind == Kind::Directory {
            self.levels.push((made, name));
            return Ok((Reply::Made, None));
        }
        if let Some(link) = link {
            self.first.insert(link, way);
        }
        let content = match kind {
            Kind::File => Some(rustix::io::fcntl_dupfd_cloexec(&made.file, 3)?),
            _ => None,
        };
        self.last = Some(made);
        Ok((Reply::Made, content))
    }

    fn set_xattr(&mut self, name: &OsStr, value: &[u8]) {
        if !self.privileged && gives_rights(name) {
            self.left_out += 1;
        } else if let Some(made) = self.last.as_ref().or(self.levels.last().map(|(made, _)| made)) {
            // As with owners: what the destination cannot hold is left out.
            made::set_xattr(&made.file, name, value);
        }
    }

    fn finish(&mut self, finish: &Finish, trouble: &[u8]) {
        let last = self.last.take();
        let Some(made) = last.or_else(|| self.levels.pop().map(|(made, _)| made)) else { return };
        // Without privilege the owner stays the caller: what can be copied is copied.
        made::give(&made.file, finish.uid, finish.gid);
        let rights = if self.privileged { 0 } else { finish.mode & 0o6000 };
        self.left_out += u64::from(rights != 0);
        let set_mode = match made.is_symlink {
            true => Ok(()),
            false => made::set_mode(&made.file, finish.mode & 0o7777 & !rights),
        };
        // The times of a directory are set after its entries were made.
        let set = set_mode.and_then(|()| made::set_times(&made.file, &finish.times()));
        match (trouble, set) {
            ([], Ok(())) => return,
            ([], Err(errno)) => {
                say(&made.shown, std::io::Error::from(errno).to_string().as_bytes());
            }
            (text, _) => say(&made.shown, text),
        }
        self.failed += 1;
    }
}

/// A name that leads nowhere but into the directory that it is used in.
fn one_name(name: &OsStr) -> Result<&OsStr> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(part)), None) if part == name => Ok(part),
        _ => Err(Errno::INVAL),
    }
}

fn say(place: &Path, text: &[u8]) {
    warn(&format!("{}: {}", place.display(), String::from_utf8_lossy(text)));
}

fn gives_rights(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"security.") || name.starts_with(b"trusted.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_into_the_directory_alone() {
        for name in ["a", "..a", "a b", "\u{1b}"] {
            assert_eq!(one_name(OsStr::new(name)), Ok(OsStr::new(name)));
        }
        for name in ["", ".", "..", "/", "/a", "a/", "a/b", "../a", "./a", "a/."] {
            assert!(one_name(OsStr::new(name)).is_err(), "{name}");
        }
    }
}
