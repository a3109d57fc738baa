//! The listings that the kernel was given lately, and how far a reader or walker is in each.

use std::collections::VecDeque;

use hsci_extension::Ino;

use super::Order;

/// Listings that are kept: a tree's way down, and a few readers.
const LISTINGS: usize = 32;
/// Files of one listing that are kept: who is further on is not followed.
pub(super) const LONGEST: usize = 4096;
/// Files that are read ahead at first, and at most.
const FEWEST: usize = 8;
const MOST: usize = 64;
/// A step is by fewer files than this: there are others in between that are known already, or not wanted.
const STEP: usize = 8;
/// Who has followed one listing is expected to follow so many more.
const EXPECTED: u32 = 4;
/// Directories that are looked at ahead.
pub(super) const DIRECTORIES: usize = 8;

/// A part of a listing.
pub(in crate::fuse) struct Part<'a> {
    pub(in crate::fuse) directory: Ino,
    pub(in crate::fuse) parent: Option<Ino>,
    /// It begins with the first name.
    pub(in crate::fuse) is_first: bool,
    /// Regular files and directories among its names.
    pub(in crate::fuse) files: &'a [Ino],
    pub(in crate::fuse) directories: &'a [Ino],
}

#[derive(Default)]
pub(super) struct Listings {
    /// The newest first.
    kept: VecDeque<Listing>,
    /// The process that was last seen to follow one, and how many listings more it is expected to.
    follower: Option<(u32, u32)>,
    /// Where the start of a file was last read of which there is no listing, and by whom.
    unlisted: Option<(Ino, u32)>,
}

/// The regular files and the directories of a directory in the order in which they were listed.
pub(super) struct Listing {
    directory: Ino,
    files: Vec<Ino>,
    directories: Vec<Ino>,
    /// By whom it was listed.
    process: u32,
    /// How many of its directories were walked through, and how many of them were looked at ahead.
    walked: usize,
    looked: usize,
    /// How far the reader is, and how far was read ahead.
    read: usize,
    ahead: usize,
    /// How many files were read behind another one of this listing.
    steps: usize,
    /// The file that was read last, while the listing is being made.
    waits_behind: Option<Ino>,
}

impl Listings {
    pub(super) fn add(&mut self, part: &Part<'_>, process: u32) -> Option<&mut Listing> {
        if part.is_first {
            self.start(part.directory, process);
        }
        let listing = self.of(part.directory)?;
        extend(&mut listing.files, part.files);
        extend(&mut listing.directories, part.directories);
        Some(listing)
    }

    /// Who reads nothing where it was expected to has the kernel know the content already.
    pub(super) fn expects(&mut self, process: u32) -> bool {
        match &mut self.follower {
            Some((follower, listings)) if *follower == process && *listings > 0 => {
                *listings -= 1;
                true
            }
            _ => false,
        }
    }

    fn start(&mut self, directory: Ino, process: u32) {
        self.kept.retain(|listing| listing.directory != directory);
        self.kept.truncate(LISTINGS - 1);
        self.kept.push_front(Listing::new(directory, process));
    }

    /// A process has begun to list a directory: where it had listed the one above, it is on its way through a tree. It
    /// comes to the directories below, at the first of which it is at once, and then to those beside this one.
    pub(super) fn walk(&mut self, part: &Part<'_>, process: u32) -> Vec<Ino> {
        if part.is_first { self.next_of(part, process).unwrap_or_default() } else { Vec::new() }
    }

    fn next_of(&mut self, part: &Part<'_>, process: u32) -> Option<Vec<Ino>> {
        let above = self.of(part.parent?).filter(|above| above.process == process)?;
        let position = above.directories.iter().position(|it| *it == part.directory)?;
        above.walked = position + 1;
        let own = self.of(part.directory);
        let mut next = own.map(|own| own.look(DIRECTORIES)).unwrap_or_default();
        let room = DIRECTORIES - next.len();
        next.extend(self.of(part.parent?)?.look(room));
        Some(next)
    }

    fn of(&mut self, directory: Ino) -> Option<&mut Listing> {
        self.kept.iter_mut().find(|listing| listing.directory == directory)
    }

    pub(super) fn step(&mut self, directory: Ino, file: Ino, process: u32) -> Option<Order> {
        let is_expected = self.follower.is_some_and(|(it, listings)| it == process && listings > 0);
        let Some(listing) = self.of(directory) else {
            let before = self.unlisted.replace((directory, process));
            if !is_expected && before != Some((directory, process)) {
                return None;
            }
            self.start(directory, process);
            self.of(directory)?.waits_behind = Some(file);
            return Some(Order::List(directory));
        };
        if let Some(last) = &mut listing.waits_behind {
            *last = file;
            return None;
        }
        let has_followed = listing.go_to(file)?;
        let order = (is_expected || has_followed).then(|| listing.next());
        if has_followed {
            self.follower = Some((process, EXPECTED));
        }
        order?
    }

    /// The listing that was asked for.
    pub(super) fn fill(&mut self, directory: Ino, files: Vec<Ino>) -> Option<Order> {
        let listing = self.of(directory)?;
        let last = listing.waits_behind.take()?;
        listing.files = files;
        listing.go_to(last)?;
        listing.next()
    }
}

impl Listing {
    fn new(directory: Ino, process: u32) -> Self {
        Self {
            directory,
            files: Vec::new(),
            directories: Vec::new(),
            process,
            walked: 0,
            looked: 0,
            read: 0,
            ahead: 0,
            steps: 0,
            waits_behind: None,
        }
    }

    /// The next directories, at most so many, that were not looked at before.
    fn look(&mut self, room: usize) -> Vec<Ino> {
        let from = self.looked.max(self.walked).min(self.directories.len());
        self.looked = (from + room).min(self.directories.len());
        self.directories[from..self.looked].to_vec()
    }

    /// True if this was a step.
    fn go_to(&mut self, file: Ino) -> Option<bool> {
        let near = self.files.iter().skip(self.read).take(MOST).position(|listed| *listed == file);
        match near {
            Some(by) => {
                let is_step = self.read > 0 && by < STEP;
                self.steps = if is_step { self.steps + 1 } else { 0 };
                self.read += by + 1;
            }
            None => {
                // Another order, or from the start: it has to be seen again.
                self.steps = 0;
                self.read = self.files.iter().position(|listed| *listed == file)? + 1;
                self.ahead = self.read;
            }
        }
        Some(self.steps > 0)
    }

    /// What to read ahead now: nothing as long as half of what was read ahead is still to come.
    pub(super) fn next(&mut self) -> Option<Order> {
        let window = (FEWEST << self.steps.min(8)).min(MOST);
        self.ahead = self.ahead.max(self.read);
        let end = (self.read + window).min(self.files.len());
        if self.ahead >= end || (self.ahead - self.read) * 2 > window {
            return None;
        }
        let order = self.files[self.ahead..end].to_vec();
        self.ahead = end;
        Some(Order::Read(order))
    }
}

/// As far as there is room.
fn extend(kept: &mut Vec<Ino>, more: &[Ino]) {
    let room = LONGEST.saturating_sub(kept.len()).min(more.len());
    kept.extend_from_slice(&more[..room]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: Ino = Ino(2);

    fn listings(files: u64) -> Listings {
        let mut listings = Listings::default();
        let files: Vec<_> = (100..100 + files).map(Ino).collect();
        let (first, more) = files.split_at(files.len() / 2);
        add(&mut listings, DIRECTORY, true, first);
        add(&mut listings, DIRECTORY, false, more);
        listings
    }

    fn add(listings: &mut Listings, directory: Ino, is_first: bool, files: &[Ino]) {
        let part = Part { directory, parent: None, is_first, files, directories: &[] };
        listings.add(&part, 7);
    }

    /// A directory is listed, with these below it: what is looked at ahead.
    fn walk(listings: &mut Listings, (parent, directory): (u64, u64), below: &[u64]) -> Vec<u64> {
        let directories: Vec<_> = below.iter().copied().map(Ino).collect();
        let (directory, parent) = (Ino(directory), Some(Ino(parent)));
        let directories = &directories[..];
        let part = Part { directory, parent, is_first: true, files: &[], directories };
        listings.add(&part, 7);
        listings.walk(&part, 7).into_iter().map(|directory| directory.0).collect()
    }

    fn numbers(order: Option<Order>) -> Vec<u64> {
        match order {
            Some(Order::Read(files)) => files.into_iter().map(|file| file.0).collect(),
            Some(Order::List(_) | Order::Look(_)) => panic!("a listing is asked for"),
            None => Vec::new(),
        }
    }

    #[test]
    fn who_reads_in_order_finds_everything_asked_for_once() {
        let mut listings = listings(500);
        let mut asked = Vec::new();
        for file in 100..600 {
            let order = numbers(listings.step(DIRECTORY, Ino(file), 7));
            assert!(order.iter().all(|ahead| *ahead > file && *ahead <= file + MOST as u64));
            asked.extend(order);
        }
        assert_eq!(asked, (102..600).collect::<Vec<_>>());
        assert_eq!(listings.follower, Some((7, EXPECTED)));
    }

    #[test]
    fn who_reads_here_and_there_has_nothing_read_ahead() {
        let mut listings = listings(1000);
        for file in [100, 700, 300, 900, 500] {
            assert_eq!(listings.step(DIRECTORY, Ino(file), 7), None, "{file}");
        }
        assert_eq!(listings.follower, None);
    }

    #[test]
    fn a_listing_is_made_where_the_kernel_has_had_one_for_longer() {
        let mut listings = Listings::default();
        assert_eq!(listings.step(DIRECTORY, Ino(101), 7), None);
        assert_eq!(listings.step(Ino(3), Ino(101), 7), None);
        assert_eq!(listings.step(Ino(3), Ino(102), 7), Some(Order::List(Ino(3))));
        assert_eq!(listings.step(Ino(3), Ino(103), 7), None);
        let files = (100..110).map(Ino).collect();
        assert_eq!(numbers(listings.fill(Ino(3), files)), (104..110).collect::<Vec<_>>());
    }

    #[test]
    fn who_has_followed_one_listing_is_expected_to_follow_the_next() {
        let mut listings = listings(10);
        for file in 100..102 {
            listings.step(DIRECTORY, Ino(file), 7);
        }
        let next: Vec<_> = (900..910).map(Ino).collect();
        add(&mut listings, Ino(3), true, &next);
        assert_eq!(numbers(listings.step(Ino(3), Ino(900), 8)), Vec::<u64>::new());
        add(&mut listings, Ino(3), true, &next);
        assert_eq!(numbers(listings.step(Ino(3), Ino(900), 7)), (901..909).collect::<Vec<_>>());
    }

    #[test]
    fn who_reads_nothing_more_is_expected_no_more() {
        let mut listings = listings(10);
        for file in 100..102 {
            listings.step(DIRECTORY, Ino(file), 7);
        }
        let expected = (0..2 * EXPECTED).map(|_| listings.expects(7)).filter(|it| *it).count();
        assert_eq!(expected, EXPECTED as usize);
        assert!(!listings.expects(8));
        listings.step(DIRECTORY, Ino(102), 7);
        assert!(listings.expects(7));
    }

    #[test]
    fn who_reads_what_few_are_left_has_nothing_read_ahead() {
        let mut listings = listings(1000);
        for file in (100..1100).step_by(STEP + 1) {
            assert_eq!(listings.step(DIRECTORY, Ino(file), 7), None, "{file}");
        }
        assert_eq!(listings.follower, None);
        let order = numbers({
            listings.step(DIRECTORY, Ino(200), 7);
            listings.step(DIRECTORY, Ino(199 + STEP as u64), 7)
        });
        assert!(!order.is_empty());
    }

    #[test]
    fn who_walks_a_tree_has_the_next_directories_looked_at_once() {
        let mut listings = Listings::default();
        let many: Vec<_> = (10..40).collect();
        assert_eq!(walk(&mut listings, (0, 1), &many), Vec::<u64>::new(), "nobody walks yet");
        assert_eq!(
            walk(&mut listings, (1, 10), &[100, 101, 102]),
            [100, 101, 102, 11, 12, 13, 14, 15]
        );
        assert_eq!(walk(&mut listings, (10, 100), &[]), Vec::<u64>::new());
        assert_eq!(walk(&mut listings, (1, 11), &[]), (16..24).collect::<Vec<_>>());
        // It goes elsewhere than expected.
        assert_eq!(walk(&mut listings, (1, 38), &[]), [39]);
        assert_eq!(walk(&mut listings, (1, 39), &[]), Vec::<u64>::new());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut listings = Listings::default();
        let files: Vec<_> = (0..3 * LONGEST as u64).map(Ino).collect();
        for directory in 0..3 * LISTINGS as u64 {
            add(&mut listings, Ino(directory), true, &files);
            add(&mut listings, Ino(directory), false, &files);
        }
        assert_eq!(listings.kept.len(), LISTINGS);
        assert!(listings.kept.iter().all(|listing| listing.files.len() == LONGEST));
    }
}
