//! Descriptors that unlinked files in use take: one each, for as long as somebody uses them.
//!
//! A worker has a limit of descriptors, and a user can hold any number of unlinked files open. So users share
//! them: each may take as many as are left for others, so the last one is never taken.

use std::collections::HashMap;
use std::sync::Arc;

use hsci_extension::protection;
use parking_lot::Mutex;

/// What all users may take together, and what they have.
pub(super) struct Shares {
    room: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    by_user: HashMap<u32, usize>,
}

/// One descriptor of a user's; given back when it is dropped.
pub(super) struct Share {
    shares: Arc<Shares>,
    user: u32,
}

impl Shares {
    /// Half of a limit: the other half is for what requests need while they are served, and the
    /// supervisor keeps as many.
    pub(super) fn new(limit: u64) -> Arc<Self> {
        let room = usize::try_from(limit / 2).unwrap_or(usize::MAX);
        Arc::new(Self { room, taken: Mutex::default() })
    }

    /// One more for a user, unless that would be more than are left.
    pub(super) fn take(self: &Arc<Self>, user: u32) -> Option<Share> {
        let mut taken = self.taken.lock();
        let left = self.room.saturating_sub(taken.total);
        let own = taken.by_user.get(&user).copied().unwrap_or_default();
        (own < left || !protection::stands("shares")).then(|| self.add(&mut taken, user))
    }

    /// One that the worker before has left, and that cannot be refused any more.
    pub(super) fn inherit(self: &Arc<Self>, user: u32) -> Share {
        self.add(&mut self.taken.lock(), user)
    }

    fn add(self: &Arc<Self>, taken: &mut Taken, user: u32) -> Share {
        taken.total += 1;
        *taken.by_user.entry(user).or_default() += 1;
        Share { shares: Arc::clone(self), user }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock();
        taken.total -= 1;
        if let Some(own) = taken.by_user.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                taken.by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_last_descriptors_of_others() {
        let shares = Shares::new(200);
        let take_all = |user| std::iter::from_fn(|| shares.take(user)).collect::<Vec<_>>();
        let all: Vec<_> = (1..=5).map(take_all).collect();
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [50, 25, 13, 6, 3]);
        assert!(shares.take(6).is_some(), "one that has none gets one");
        drop(all);
        assert!(shares.taken.lock().by_user.is_empty());
        assert_eq!(take_all(1).len(), 50, "all were given back");
        let inherited: Vec<_> = (0..150).map(|_| shares.inherit(1)).collect();
        assert!(shares.take(2).is_none());
        drop(inherited);
    }
}
