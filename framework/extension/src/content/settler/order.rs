//! Orders to settle all files now: one at a time for each user, and only that user's files; root's are for all.

use std::collections::BTreeMap;
use std::path::Path;

use super::queue::Waiting;
use super::walk::Walk;
use crate::Error;

/// Most text about files that failed: an answer is the value of an attribute, of 64 KiB at most.
const MOST_NAMED: usize = 16 << 10;

/// An order that is carried out turn by turn.
pub(super) struct Order {
    pub(super) user: u32,
    /// Orders of this user that are done with this one.
    pub(super) number: u64,
    pub(super) walk: Walk,
    /// Files that were busy, and how often they were tried again.
    pub(super) busy: Vec<Waiting>,
    pub(super) rounds: u32,
}

/// The orders of a user.
#[derive(Default)]
pub(super) struct Progress {
    /// How many there were, and how many of them are carried out.
    asked: u64,
    served: u64,
    /// One is being carried out.
    under_way: bool,
    /// Files of the current or last order that were looked at, and those of them that failed.
    pub(super) taken: u64,
    failed: u64,
    /// The first of those, a line each.
    named: String,
    /// Their stored bytes.
    bytes: u64,
    /// All files of the order, and their stored bytes.
    pub(super) total: Option<(u64, u64)>,
}

impl Progress {
    /// Files were looked at that store so many bytes.
    pub(super) fn took(&mut self, files: u64, bytes: u64) {
        self.taken += files;
        self.bytes += bytes;
    }

    /// A file stays as it is stored.
    pub(super) fn fail(&mut self, path: &Path, error: &Error) {
        self.failed += 1;
        // A name may hold what ends a line.
        let line = format!("{}: {error}", path.display()).replace('\n', "\\n");
        if self.named.len() + line.len() < MOST_NAMED {
            self.named.push_str(&line);
            self.named.push('\n');
        }
    }
}

/// The orders of all users.
#[derive(Default)]
pub(super) struct Orders(BTreeMap<u32, Progress>);

impl Orders {
    pub(super) fn ask(&mut self, user: u32) {
        self.0.entry(user).or_default().asked += 1;
    }

    /// Begins the next order that nobody carries out; returns its user and number.
    pub(super) fn begin(&mut self) -> Option<(u32, u64)> {
        let waits = |progress: &Progress| progress.asked > progress.served && !progress.under_way;
        let (user, progress) = self.0.iter_mut().find(|(_, progress)| waits(progress))?;
        let (asked, served) = (progress.asked, progress.served);
        *progress = Progress { asked, served, under_way: true, ..Progress::default() };
        Some((*user, asked))
    }

    pub(super) fn of(&mut self, user: u32) -> &mut Progress {
        self.0.entry(user).or_default()
    }

    /// True for the order that is being carried out.
    pub(super) fn is_under_way(&self, user: u32, number: u64) -> bool {
        let is_this = |progress: &Progress| progress.under_way && progress.asked >= number;
        self.0.get(&user).is_some_and(|progress| is_this(progress) && progress.served < number)
    }

    /// How many files an order is about, and their stored bytes, unless it has ended.
    pub(super) fn set_total(&mut self, user: u32, number: u64, total: (u64, u64)) {
        if self.is_under_way(user, number) {
            self.of(user).total = Some(total);
        }
    }

    /// An order was carried out, and all that the user gave before.
    pub(super) fn end(&mut self, user: u32, number: u64) {
        let progress = self.of(user);
        let bytes = progress.total.map_or(progress.bytes, |(_, bytes)| bytes);
        (progress.total, progress.bytes) = (Some((progress.taken, bytes)), bytes);
        (progress.served, progress.under_way) = (number, false);
    }

    /// How far a user's last order is, as JSON.
    pub(super) fn describe(&self, user: u32, ended: bool) -> String {
        let none = Progress::default();
        let progress = self.0.get(&user).unwrap_or(&none);
        let &Progress { asked, served, taken, failed, bytes, total, .. } = progress;
        let done = taken.saturating_sub(failed);
        let running = served < asked && !ended;
        let bytes = bytes.min(total.map_or(u64::MAX, |(_, bytes)| bytes));
        let or_null = |it: Option<u64>| it.map_or("null".to_owned(), |it| it.to_string());
        let (total, total_bytes) =
            (or_null(total.map(|(files, _)| files)), or_null(total.map(|(_, bytes)| bytes)));
        format!(
            r#"{{"done":{done},"total":{total},"running":{running},"failed":{failed},"bytes":{bytes},"total_bytes":{total_bytes}}}"#
        )
    }

    /// Files of a user's last order that stay as they are stored, and why: a line each.
    pub(super) fn describe_failed(&self, user: u32) -> String {
        self.0.get(&user).map(|progress| progress.named.clone()).unwrap_or_default()
    }
}
