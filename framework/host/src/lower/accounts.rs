//! Memory that inodes take: as many stay in the table as the kernel knows, and who makes it know them is a user.
//!
//! Users share what there is: each may have as many as are left for others. Who has more is asked to give some
//! back: the kernel drops names that nobody uses, the least of harm, and forgets what they led to.

use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use hsci_extension::protection;

/// What an inode counts as, with its name, notes of extensions and a descriptor that keeps it. A worker of compressfs that
/// knows 100,000 files has used 288 bytes for each with names of 25 bytes, as most are.
const INODE_LEN: u64 = 640;

/// How many inodes there may be, and who has made the kernel know them.
pub(super) struct Accounts {
    room: usize,
    total: AtomicUsize,
    /// Users do not wait for each other.
    by_user: DashMap<u32, Account>,
}

#[derive(Default)]
struct Account {
    own: usize,
    /// With so many, some are to be given back; more than the share if that has been asked for just now.
    next: usize,
    /// How many have been asked for.
    asked: usize,
}

/// So many of a user's, after so many others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Surplus {
    pub(super) after: usize,
    pub(super) count: usize,
}

impl Accounts {
    /// For so much memory.
    pub(super) fn new(memory: u64) -> Self {
        let room = usize::try_from(memory / INODE_LEN).unwrap_or(usize::MAX);
        Self { room, total: AtomicUsize::new(0), by_user: DashMap::new() }
    }

    /// One more of a user's; true if the user is to give some back. Root may have as many as it likes.
    pub(super) fn add(&self, user: u32) -> bool {
        let total = self.total.fetch_add(1, Ordering::Relaxed) + 1;
        let left = self.room.saturating_sub(total);
        let mut account = self.by_user.entry(user).or_default();
        account.own += 1;
        if user == 0 || account.own <= left {
            account.next = 0;
            return false;
        }
        let is_due = account.own >= account.next && protection::stands("memory");
        if is_due {
            // What is in use stays, and is not asked for again at once.
            account.next = account.own + self.step();
        }
        is_due
    }

    /// How many more a user may have before it is asked again.
    fn step(&self) -> usize {
        self.room / 16 + 1
    }

    /// One less.
    pub(super) fn remove(&self, user: u32) {
        self.total.fetch_sub(1, Ordering::Relaxed);
        if let Some(mut account) = self.by_user.get_mut(&user) {
            account.own -= 1;
            account.next = account.next.min(account.own + self.step());
            if account.own > 0 {
                return;
            }
        }
        self.by_user.remove_if(&user, |_, account| account.own == 0);
    }

    /// What a user is to give back at a time, if there is anything.
    pub(super) fn surplus(&self, user: u32) -> Option<Surplus> {
        let mut account = self.by_user.get_mut(&user)?;
        let (after, count) = (account.asked, account.own / 4 + 1);
        account.asked = after.wrapping_add(count);
        Some(Surplus { after, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_more_than_is_left_gives_some_back() {
        let accounts = Accounts::new(1600 * INODE_LEN);
        assert!((0..800).all(|_| !accounts.add(1)), "half is everybody's share");
        assert!(accounts.add(1), "more is not");
        assert_eq!(accounts.surplus(1), Some(Surplus { after: 0, count: 201 }));
        assert_eq!(accounts.surplus(1), Some(Surplus { after: 201, count: 201 }), "and others");
        assert!((0..100).all(|_| !accounts.add(1)), "it is asked for once");
        assert!(accounts.add(1), "and again where that was in vain");
        assert!((0..300).all(|_| !accounts.add(2)), "others have theirs");
        (0..600).for_each(|_| accounts.remove(1));
        assert!((0..100).all(|_| !accounts.add(1)), "it has given some back");
        assert!((0..3000).all(|_| !accounts.add(0)), "root is not asked");
        (0..402).for_each(|_| accounts.remove(1));
        assert_eq!(accounts.surplus(1), None);
        assert!(accounts.add(3), "nothing is left");
    }
}
