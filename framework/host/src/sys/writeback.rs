//! Writing dirty pages to the disk before anybody waits for them.

use std::os::fd::{AsFd, AsRawFd};

/// Starts writing what is dirty in a range of a file, and waits for nothing. It promises nothing
/// either, so failure is no error.
pub(crate) fn start(file: impl AsFd, offset: u64, len: u64) {
    // SAFETY: the call takes numbers and an open descriptor.
    unsafe {
        libc::sync_file_range(
            file.as_fd().as_raw_fd(),
            offset.cast_signed(),
            len.cast_signed(),
            libc::SYNC_FILE_RANGE_WRITE,
        );
    }
}
