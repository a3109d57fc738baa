//! Paths of descriptors.

use std::ffi::CStr;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The path by which system calls without a descriptor argument reach an inode. Good for as long as
/// the descriptor is open: its number may be another file's afterwards.
pub(super) struct ProcPath<'a> {
    text: [u8; PROC_PATH_LEN],
    _descriptor: BorrowedFd<'a>,
}

/// Holds the longest one, and the 0 at its end.
const PROC_PATH_LEN: usize = 32;

impl std::ops::Deref for ProcPath<'_> {
    type Target = CStr;

    fn deref(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.text).expect("a 0 at the end")
    }
}

pub(super) fn proc_path(path: &OwnedFd) -> ProcPath<'_> {
    let mut text = [0; PROC_PATH_LEN];
    write!(&mut text[..PROC_PATH_LEN - 1], "/proc/self/fd/{}", path.as_raw_fd()).expect("room");
    ProcPath { text, _descriptor: path.as_fd() }
}
