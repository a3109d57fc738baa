//! The names of control sockets, listed once for all mounts that a command asks.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{OFlags, fstat};

use super::{own_prefix, prefix};
use crate::mounts::Mounted;
use crate::place::open_below;
use crate::run_dir::{self, Directory};

/// How many sockets of a mount are tried, for users can make any number of names.
const MOST_NAMES: usize = 64;
/// And how many names of a directory are kept.
const MOST_LISTED: usize = 16_384;

/// Directories of users that have been looked at, and what is in them.
#[derive(Debug, Default)]
pub(super) struct Sockets(HashMap<u32, Vec<(Directory, Vec<OsString>)>>);

impl Sockets {
    /// The sockets that may be a mount's, by directory, the likeliest first.
    pub(super) fn of(&mut self, mounted: &Mounted) -> impl Iterator<Item = OwnedFd> {
        let directories = self.0.entry(mounted.user).or_insert_with(|| list(mounted.user));
        let found = directories.iter().map(|(directory, names)| find(directory, names, mounted));
        found.collect::<Vec<_>>().into_iter().flatten()
    }
}

fn list(user: u32) -> Vec<(Directory, Vec<OsString>)> {
    let listed = run_dir::of_user(user).filter_map(|directory| {
        let entries = std::fs::read_dir(directory.path("")).ok()?;
        let names = entries.flatten().map(|entry| entry.file_name());
        Some((directory, names.take(MOST_LISTED).collect()))
    });
    listed.collect()
}

/// A supervisor before, whose numbers were given again, may not have ended yet: the socket of this
/// very mount comes first, the newest of them. A bind mount shares the device alone.
fn find(directory: &Directory, names: &[OsString], mounted: &Mounted) -> Vec<OwnedFd> {
    let (prefix, this) = (prefix(mounted.device), own_prefix(mounted));
    let begins = |name: &OsString, with: &str| name.as_encoded_bytes().starts_with(with.as_bytes());
    let names = names.iter().filter(|name| begins(name, &prefix)).take(MOST_NAMES);
    let found = names.filter_map(|name| {
        let socket = open_below(directory.as_fd(), name, OFlags::PATH).ok()?;
        let stat = fstat(&socket).ok()?;
        let made = (stat.st_mtime, stat.st_mtime_nsec);
        Some((!begins(name, &this), Reverse(made), socket))
    });
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|(is_other, made, _)| (*is_other, *made));
    found.into_iter().map(|(.., socket)| socket).collect()
}
