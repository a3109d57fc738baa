//! Extended attributes as FUSE has them: answers by size or value, lists of terminated names, and names
//! that are orders to the host.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use fuser::{Errno, ReplyXattr};
use hsci_extension::CONTROL_PREFIX;

/// The part of a control attribute's name behind the prefix.
pub(super) fn control_name(name: &OsStr) -> Option<&str> {
    name.to_str()?.strip_prefix(CONTROL_PREFIX)
}

/// Answers with a value, or with its size where the caller has asked for that (`size` 0).
pub(super) fn sized(value: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match value {
        Err(errno) => reply.error(errno),
        Ok(value) if size == 0 => reply.size(value.len() as u32),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
    }
}

/// A list of names, each one with a zero behind it.
pub(super) fn terminated(names: Vec<OsString>) -> Vec<u8> {
    let mut list = Vec::new();
    for name in names {
        list.extend_from_slice(name.as_bytes());
        list.push(0);
    }
    list
}
