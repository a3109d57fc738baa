//! What a file may hold after a crash.

use std::ops::Range;
use std::sync::Arc;

use super::model::Operation;

/// The bytes of a file when it was last synced, and after each change since.
#[derive(Clone, Debug)]
pub(super) struct History {
    versions: Vec<Arc<Vec<u8>>>,
    /// Bytes that changes since the sync have to do with.
    touched: Vec<Range<usize>>,
}

impl Default for History {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl History {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { versions: vec![Arc::new(bytes)], touched: Vec::new() }
    }

    pub(super) fn now(&self) -> &Arc<Vec<u8>> {
        self.versions.last().expect("there is always a version")
    }

    /// A change has begun; it may have come to its end.
    pub(super) fn change(&mut self, operation: &Operation) {
        let mut bytes = self.now().to_vec();
        let touched = operation.touches(bytes.len());
        if operation.apply(&mut bytes) {
            self.touched.push(touched);
            self.versions.push(Arc::new(bytes));
        }
    }

    /// A sync has returned.
    pub(super) fn sync(&mut self) {
        self.versions.drain(..self.versions.len() - 1);
        self.touched.clear();
    }

    /// Panics if the file can not hold that.
    pub(super) fn check(&self, found: &[u8], context: &str) {
        let wrong = self.wrong(found);
        assert_eq!(wrong, None, "{context}");
    }

    /// What is wrong with the bytes. Each must come from one of the versions, or be a zero where
    /// bytes were on their way; where nothing has changed since the sync, none may.
    fn wrong(&self, found: &[u8]) -> Option<String> {
        if self.versions.iter().any(|version| version[..] == *found) {
            return None;
        }
        let lens = || self.versions.iter().map(|version| version.len());
        let possible = lens().min().expect("versions")..=lens().max().expect("versions");
        if !possible.contains(&found.len()) {
            return Some(format!("{} bytes, not {possible:?}", found.len()));
        }
        let is_wrong = |at: usize| {
            let is_touched = self.touched.iter().any(|range| range.contains(&at));
            let of = |version: &Arc<Vec<u8>>| version.get(at) == Some(&found[at]);
            match is_touched {
                true => found[at] != 0 && !self.versions.iter().any(of),
                false => !of(&self.versions[0]),
            }
        };
        (0..found.len()).find(|at| is_wrong(*at)).map(|at| {
            let known: Vec<_> = self.versions.iter().map(|version| version.get(at)).collect();
            format!("byte {at} is {:#x}, not of {known:x?}; touched: {:?}", found[at], self.touched)
        })
    }
}

#[test]
fn a_synced_file_is_whole_and_an_unsynced_one_holds_nothing_foreign() {
    let write = |offset, data: &[u8]| Operation {
        file: 0,
        kind: 20,
        offset,
        len: data.len() as u64,
        data: data.to_vec(),
    };
    let mut history = History::new(b"abcdef".to_vec());
    for bad in [b"abcde" as &[u8], b"abcdex", b"abcde\0", b"abcdefg"] {
        assert!(history.wrong(bad).is_some(), "{bad:?} instead of what was synced");
    }
    history.change(&write(4, b"XYZ"));
    for good in [b"abcdef" as &[u8], b"abcdXYZ", b"abcdXf", b"abcd\0f", b"abcdef\0"] {
        assert_eq!(history.wrong(good), None, "{good:?}");
    }
    for bad in [b"abcdXYZ\0" as &[u8], b"abcd", b"\0bcdXYZ", b"abcdqf", b"abcYef"] {
        assert!(history.wrong(bad).is_some(), "{bad:?}");
    }
    history.sync();
    assert!(history.wrong(b"abcdef").is_some(), "old bytes of a synced file");
}
