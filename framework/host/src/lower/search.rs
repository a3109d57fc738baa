//! Finding inodes again that a store names: below the root, and nowhere else.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use hsci_extension::{Errno, RESERVED_NAME, Result, protection};
use rustix::fs::{AtFlags, Dir, FileType, OFlags, StatxFlags, statx};

use super::{LowerTree, device_of};
use crate::place::open_below;
use crate::sys::handle::{Handle, handle_of};

/// Directories of a tree that is nested deeper are not looked at.
const MAX_DEPTH: usize = 512;

/// Is given the place of what was wanted, and what was found.
pub(super) type Visitor<'a> = dyn FnMut(usize, Result<OwnedFd>) + 'a;

/// Finds regular files by their handles, as `O_PATH` descriptors that were reached by names below
/// the root. A handle alone says nothing about where its inode lies, and anybody can make one.
pub(super) fn find(tree: &LowerTree, wanted: &[Handle], visit: &mut Visitor<'_>) {
    let mut left: HashMap<&Handle, usize> = HashMap::new();
    for (place, handle) in wanted.iter().enumerate() {
        match by_kernel_path(tree, handle) {
            Ok(Some(found)) => visit(place, Ok(found)),
            Ok(None) => drop(left.insert(handle, place)),
            Err(errno) => visit(place, Err(errno.into())),
        }
    }
    if left.is_empty() {
        return;
    }
    if let Err(errno) = walk(tree, &mut left, visit) {
        left.values().for_each(|place| visit(*place, Err(errno.into())));
        return;
    }
    // Where handles can be opened it is somewhere, and where they cannot it may be gone.
    let missing = if tree.by_handle { Errno::XDEV } else { Errno::STALE };
    left.values().for_each(|place| visit(*place, Err(missing.into())));
}

/// Looks where the kernel says that an inode is, which it knows of most that were in use lately.
/// An error if it is gone, or nothing that may be found.
fn by_kernel_path(tree: &LowerTree, handle: &Handle) -> Result<Option<OwnedFd>, Errno> {
    if !tree.by_handle {
        return Ok(None);
    }
    let opened = handle.open(tree.root(), OFlags::PATH | OFlags::NOFOLLOW)?;
    let stat = statx(&opened, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    if stat.stx_nlink == 0 {
        return Err(Errno::STALE);
    }
    let is_regular = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile;
    if !is_regular || !tree.inodes.is_home(device_of(&stat)) {
        return Err(Errno::XDEV);
    }
    if !protection::stands("below-root") {
        return Ok(Some(opened));
    }
    let path = |file: &dyn AsFd| {
        let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        rustix::fs::readlink(link, Vec::new())
            .map(|path| PathBuf::from(OsStr::from_bytes(path.as_bytes())))
    };
    let (Ok(root), Ok(path)) = (path(&tree.root()), path(&opened)) else { return Ok(None) };
    let Ok(below) = path.strip_prefix(root) else { return Ok(None) };
    let Ok(found) = open_below(tree.root(), below, OFlags::PATH) else { return Ok(None) };
    // The path was a hint: what counts is where it led.
    Ok((handle_of(&found).as_ref() == Ok(handle)).then_some(found))
}

/// Walks the tree until everything is found. No symbolic link is followed, no other mount entered.
fn walk(
    tree: &LowerTree,
    left: &mut HashMap<&Handle, usize>,
    visit: &mut Visitor<'_>,
) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut levels = vec![Dir::new(open_below(tree.root(), ".", flags)?)?];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.read() else {
            levels.pop();
            continue;
        };
        // A directory that cannot be read hides its files: they are not found then.
        let Ok(entry) = entry else {
            levels.pop();
            continue;
        };
        let name = entry.file_name();
        let is_own = levels.len() == 1 && name.to_bytes() == RESERVED_NAME.as_bytes();
        if matches!(name.to_bytes(), b"." | b"..") || is_own {
            continue;
        }
        let directory = levels.last().expect("it is being read").fd()?;
        if matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown)
            && let Some((place, found)) = take(directory.as_fd(), name, left)
        {
            visit(place, Ok(found));
            if left.is_empty() {
                return Ok(());
            }
        }
        if matches!(entry.file_type(), FileType::Directory | FileType::Unknown)
            && levels.len() < MAX_DEPTH
            && let Ok(below) = open_below(directory.as_fd(), name, flags)
        {
            levels.push(Dir::new(below)?);
        }
    }
    Ok(())
}

/// Opens a name if it leads to something that is wanted.
fn take(
    directory: rustix::fd::BorrowedFd<'_>,
    name: &CStr,
    left: &mut HashMap<&Handle, usize>,
) -> Option<(usize, OwnedFd)> {
    let handle = Handle::of(directory, name).ok()?;
    if !left.contains_key(&handle) {
        return None;
    }
    let found = open_below(directory, name, OFlags::PATH).ok()?;
    let stat = statx(&found, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE).ok()?;
    let is_regular = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile;
    if !is_regular || handle_of(&found).as_ref() != Ok(&handle) {
        return None;
    }
    left.remove(&handle).map(|place| (place, found))
}
