//! Directories that ignore the case of names. The host, extensions, rules and the kernel's memory of a mount tell names
//! apart by their bytes: there, `.HSCI` would be the private directory, and no rule for `secret` hold for `Secret`.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use hsci_extension::{RESERVED_NAME, protection};
use rustix::fs::{
    AtFlags, Dir, FileType, IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, mkdirat, openat,
    statat, unlinkat,
};
use rustix::io::Errno;

use crate::failure::{Exit, Failure};

/// `FS_CASEFOLD_FL`.
const FOLDED: IFlags = IFlags::from_bits_retain(0x4000_0000);
/// Names tried before a directory counts as one that tells nothing.
const MOST_TRIED: usize = 64;

/// Fails if a directory that is to be served ignores the case of names. An empty one is tried out where it may be
/// changed.
pub(crate) fn refuse(lower: BorrowedFd<'_>, path: &Path, read_only: bool) -> Result<(), Failure> {
    if !protection::stands("case")
        || !(is_folded(lower, c".") || finds_other_case(lower, read_only))
    {
        return Ok(());
    }
    let text = "ignores the case of names, by which rules and extensions go; name a directory that does not \
                (chattr -F, while it is empty)";
    Err(Failure::new(Exit::Impossible, format!("{}: {text}", path.display())))
}

/// True if directories below one may ignore the case of names although it does not itself.
pub(crate) fn may_fold(directory: BorrowedFd<'_>) -> bool {
    if !protection::stands("case") {
        return false;
    }
    let Ok(directory) = open(directory, c".") else { return true };
    let Ok(flags) = ioctl_getflags(&directory) else { return false };
    let is_empty = entries(&directory).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty {
        return true;
    }
    // File systems that know such directories let none become one that holds anything, and say so.
    let asked = ioctl_setflags(&directory, flags | FOLDED);
    if asked.is_ok() {
        // It was emptied meanwhile, or this one does not care.
        let _ = ioctl_setflags(&directory, flags);
    }
    !matches!(asked, Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL))
}

/// True if a directory was made to ignore the case of names.
pub(crate) fn is_folded(parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> bool {
    let flags = open(parent, name).and_then(ioctl_getflags);
    flags.is_ok_and(|flags| flags.contains(FOLDED))
}

fn open(parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<std::os::fd::OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn entries(directory: impl AsFd) -> Result<impl Iterator<Item = std::ffi::CString>, Errno> {
    let names = Dir::read_from(directory)?.flatten().map(|entry| entry.file_name().to_owned());
    Ok(names.filter(|name| !matches!(name.to_bytes(), b"." | b"..")))
}

/// True if a name is found by another one that differs in case.
fn finds_other_case(directory: BorrowedFd<'_>, read_only: bool) -> bool {
    let reserved = is_found_as_other(directory, RESERVED_NAME.as_bytes());
    let listed = || {
        let mut tried = entries(directory).into_iter().flatten().take(MOST_TRIED);
        tried.find_map(|name| is_found_as_other(directory, name.to_bytes()))
    };
    reserved.or_else(listed).unwrap_or_else(|| {
        let is_made = !read_only && mkdirat(directory, RESERVED_NAME, Mode::RWXU).is_ok();
        let found = is_made && is_found_as_other(directory, RESERVED_NAME.as_bytes()) == Some(true);
        if is_made {
            let _ = unlinkat(directory, RESERVED_NAME, AtFlags::REMOVEDIR);
        }
        found
    })
}

/// Whether the one file that a name leads to is what its other case leads to, too; nothing where that says nothing.
fn is_found_as_other(directory: BorrowedFd<'_>, name: &[u8]) -> Option<bool> {
    let swap = |byte: &u8| if byte.is_ascii_alphabetic() { byte ^ 0x20 } else { *byte };
    let other: Vec<u8> = name.iter().map(swap).collect();
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let has_one_name =
        stat.st_nlink == 1 || FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if other == name || !has_one_name {
        return None;
    }
    let found = statat(directory, &*other, AtFlags::SYMLINK_NOFOLLOW);
    Some(found.is_ok_and(|found| (found.st_dev, found.st_ino) == (stat.st_dev, stat.st_ino)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_tells_case_is_found_to_and_left_as_it_was() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = std::fs::File::open(dir.path()).expect("open");
        let said = || finds_other_case(root.as_fd(), false);
        assert!(!said(), "empty");
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0);
        for name in ["1", "a", "B", "b"] {
            std::fs::write(dir.path().join(name), name).expect("a file");
            assert!(!said(), "{name}");
        }
        // Two names of one file are no other case of one.
        std::fs::remove_file(dir.path().join("b")).expect("removed");
        std::fs::hard_link(dir.path().join("B"), dir.path().join("b")).expect("a link");
        std::fs::remove_file(dir.path().join("a")).expect("removed");
        assert!(!said(), "linked");
        assert!(refuse(root.as_fd(), dir.path(), false).is_ok());
    }
}
