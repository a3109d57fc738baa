//! The one answer that `fuser` has no safe way for.
#![allow(unsafe_code)]

use fuser::{FileHandle, FopenFlags, ReplyOpen};

/// Answers an open: the kernel serves it by the file of this number, which stays the caller's own.
pub(super) fn answer_passed(reply: ReplyOpen, handle: FileHandle, number: u32) {
    // SAFETY: the number is one of this connection, and is not closed here: `into_raw` gives it back.
    let backing = unsafe { reply.wrap_backing(number) };
    reply.opened_passthrough(handle, FopenFlags::empty(), &backing);
    let _ = backing.into_raw();
}
