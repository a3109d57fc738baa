//! What was found out of files that are not in use, for whoever looks at them again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::{Attr, Ino};

/// A file may be in any place of its set, from which the one goes that was found out first. Files with numbers beside
/// each other, as those of a directory mostly have, are in sets beside each other. Memory comes with the first note of
/// a stripe: 5 MiB once all have theirs.
const STRIPES: usize = 1024;
const SETS: usize = 32;
const PLACES: usize = 4;

/// Inode, and its lower `ctime` and size, beside which these count: logical length, and the `ctime` to show.
/// Times are nanoseconds since 1970, one more each, so that what is 0 counts for nothing.
type Place = [u64; 5];
type Set = [Place; PLACES];

/// Any change of a file gives it another `ctime`, but for one that follows another at once.
const OLD: Duration = Duration::from_secs(2);

pub(super) struct Peeked(Vec<Mutex<Vec<Set>>>);

impl Peeked {
    pub(super) fn new() -> Self {
        Self((0..STRIPES).map(|_| Mutex::default()).collect())
    }

    /// Makes the lower attributes of a file those that users see; false if they are not known.
    pub(super) fn show(&self, ino: Ino, attr: &mut Attr) -> bool {
        let Some(ctime) = number(attr.ctime) else { return false };
        let fits = |place: &&Place| place[..3] == [ino.0, ctime, attr.size];
        let (stripe, set) = self.place(ino);
        let found = stripe.lock().get(set).and_then(|set| set.iter().find(fits).copied());
        if let Some([.., len, shown]) = found {
            (attr.size, attr.ctime) = (len, time(shown));
        }
        found.is_some()
    }

    /// Users see these in place of the lower ones, in which nothing has changed since they were asked for.
    pub(super) fn note(&self, ino: Ino, lower: &Attr, shown: &Attr) {
        let is_old = lower.ctime.elapsed().is_ok_and(|age| age >= OLD);
        if is_old && let (Some(of_ctime), Some(ctime)) = (number(lower.ctime), number(shown.ctime))
        {
            let note = [ino.0, of_ctime, lower.size, shown.size, ctime];
            let (stripe, set) = self.place(ino);
            let mut sets = stripe.lock();
            sets.resize(SETS, [[0; 5]; PLACES]);
            let own = sets[set].iter().position(|place| place[0] == ino.0);
            sets[set][..=own.unwrap_or(PLACES - 1)].rotate_right(1);
            sets[set][0] = note;
        }
    }

    /// The stripe of a file, and its set in there.
    fn place(&self, ino: Ino) -> (&Mutex<Vec<Set>>, usize) {
        let (run, set) = (ino.0 / SETS as u64, ino.0 % SETS as u64);
        // Fibonacci hashing: file systems give numbers in runs that begin at multiples of powers of two.
        let mixed = run.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let stripe = mixed >> (u64::BITS - STRIPES.ilog2());
        (&self.0[stripe as usize], set as usize)
    }
}

/// `None` for times before 1970.
fn number(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()?.checked_add(1)
}

fn time(number: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(number - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileKind;

    fn attr(size: u64, ctime: u64) -> Attr {
        let mut attr = Attr::new(Ino(0), FileKind::Regular, 0o644);
        (attr.size, attr.ctime) = (size, UNIX_EPOCH + Duration::new(ctime, 999_999_999));
        attr
    }

    #[test]
    fn what_was_found_out_counts_for_the_same_file_unchanged() {
        let peeked = Peeked::new();
        let (lower, shown) = (attr(70, 5), attr(300, 4));
        let look = |ino, mut lower: Attr| peeked.show(ino, &mut lower).then_some(lower);
        assert_eq!(look(Ino(3), attr(0, 0)), None);
        peeked.note(Ino(3), &lower, &shown);
        assert_eq!(look(Ino(3), lower.clone()), Some(shown.clone()));
        assert_eq!(look(Ino(4), lower.clone()), None);
        for changed in [attr(71, 5), attr(70, 6)] {
            assert_eq!(look(Ino(3), changed), None);
        }
        peeked.note(Ino(3), &attr(71, 5), &lower);
        assert_eq!(look(Ino(3), attr(71, 5)), Some(lower.clone()));
        assert_eq!(look(Ino(3), lower), None);
    }

    #[test]
    fn most_of_as_many_files_as_there_are_places_are_remembered() {
        let peeked = Peeked::new();
        let (lower, shown) = (attr(70, 5), attr(300, 4));
        // As ext4 gives them: some in each group of 8,192.
        let files =
            || (0..256).flat_map(|group| (0..256).map(move |file| Ino(group * 8192 + file)));
        files().for_each(|ino| peeked.note(ino, &lower, &shown));
        let known = files().filter(|ino| peeked.show(*ino, &mut lower.clone())).count();
        assert!(known > 256 * 256 * 9 / 10, "{known}");
        let more = (0..4 * STRIPES * SETS * PLACES).map(|ino| Ino(ino as u64));
        more.for_each(|ino| peeked.note(ino, &lower, &shown));
        let known = files().filter(|ino| peeked.show(*ino, &mut lower.clone())).count();
        assert!(known <= STRIPES * SETS * PLACES / 2, "{known}");
    }

    #[test]
    fn what_may_change_again_without_a_trace_is_found_out_again() {
        let peeked = Peeked::new();
        let mut now = attr(70, 0);
        now.ctime = SystemTime::now();
        peeked.note(Ino(3), &now, &now);
        assert!(!peeked.show(Ino(3), &mut now));
    }
}
