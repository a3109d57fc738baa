//! A walk over all regular files below the root.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::sync::Arc;

use crate::content::open_file::{Hold, Shared};
use crate::{Attr, Call, DirEntry, Entry, FileKind, Ino, Result};

/// Names asked for at a time, in bytes.
const BUDGET: usize = 32 << 10;

/// Gives every regular file that is not empty in the lower tree. What changes meanwhile may be
/// missed or met twice. What cannot be read is skipped.
pub(super) struct Walk {
    shared: Arc<Shared>,
    /// The directories on the way to where the walk is.
    levels: Vec<Level>,
}

struct Level {
    directory: Hold,
    entries: VecDeque<DirEntry>,
    cookie: u64,
}

impl Walk {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let mut walk = Self { shared: Arc::clone(shared), levels: Vec::new() };
        if let Ok(root) = Hold::new(shared, Ino::ROOT) {
            walk.enter(root);
        }
        walk
    }

    fn enter(&mut self, directory: Hold) {
        self.levels.push(Level { directory, entries: VecDeque::new(), cookie: 0 });
    }

    /// Counts the files to come that are accepted and the bytes that they store, until `stop` says so.
    pub(super) fn measure(
        mut self,
        accepts: impl Fn(&Attr) -> bool,
        stop: impl Fn() -> bool,
    ) -> (u64, u64) {
        let (mut files, mut bytes) = (0, 0);
        while let Some((_, size)) = self.next_file(&accepts) {
            if stop() {
                break;
            }
            files += 1;
            bytes += size;
        }
        (files, bytes)
    }

    /// The next file that is accepted by its attributes, and its stored length.
    pub(super) fn next_file(&mut self, accepts: impl Fn(&Attr) -> bool) -> Option<(Hold, u64)> {
        loop {
            let (parent, name, kind) = self.next_name()?;
            if kind != FileKind::Regular {
                continue;
            }
            if let Ok((hold, attr)) = self.look_up(parent, &name)
                && attr.kind == FileKind::Regular
                && attr.size > 0
                && accepts(&attr)
            {
                return Some((hold, attr.size));
            }
        }
    }

    /// The next name that is no directory, after entering those that come before it.
    fn next_name(&mut self) -> Option<(Ino, OsString, FileKind)> {
        loop {
            let Some((parent, entry)) = self.next_entry()? else {
                self.levels.pop();
                continue;
            };
            if entry.name == "." || entry.name == ".." {
                continue;
            }
            match entry.kind {
                Some(FileKind::Directory) | None => {}
                Some(kind) => return Some((parent, entry.name, kind)),
            }
            let Ok((hold, attr)) = self.look_up(parent, &entry.name) else { continue };
            if attr.kind != FileKind::Directory {
                return Some((parent, entry.name, attr.kind));
            }
            self.enter(hold);
        }
    }

    /// The next entry of the directory where the walk is; `None` inside at its end.
    #[expect(clippy::option_option, reason = "the end of a directory is not that of the walk")]
    fn next_entry(&mut self) -> Option<Option<(Ino, DirEntry)>> {
        let level = self.levels.last_mut()?;
        let ino = level.directory.ino;
        if level.entries.is_empty() {
            let listed = self.shared.lower.readdir(&Call::internal(), ino, level.cookie, BUDGET);
            level.entries = listed.unwrap_or_default().into();
            level.cookie = level.entries.back().map_or(level.cookie, |last| last.next);
        }
        Some(level.entries.pop_front().map(|entry| (ino, entry)))
    }

    fn look_up(&self, parent: Ino, name: &OsString) -> Result<(Hold, Attr)> {
        let Entry { ino, attr, .. } = self.shared.lower.lookup(&Call::internal(), parent, name)?;
        Ok((Hold::counted(&self.shared, ino), attr))
    }
}

impl Iterator for Walk {
    type Item = Hold;

    fn next(&mut self) -> Option<Hold> {
        self.next_file(|_| true).map(|(hold, _)| hold)
    }
}
