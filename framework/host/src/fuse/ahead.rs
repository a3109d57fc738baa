//! Reading ahead of who reads the files of a directory one after another.
//!
//! Programs that read trees (`grep -r`, `tar`, compilers) take the files of a directory in the order of its listing,
//! and wait for the disk at each. So the listings that the kernel has just been given are kept for a while (made anew
//! where the kernel has had one for longer), and where a process is seen to follow one, the next files are opened, and
//! their first bytes asked for, before their turn comes. Who has followed one listing is expected to follow the next as
//! well.
//!
//! Who lists directories one below the other looks at all that is in them (`find`, `du`, `rsync`): the names of the
//! directories that come next are looked at before their turn comes, so that the lower file system has their inodes in
//! memory by then, and what the host will ask of them is known. The newest orders come first: the oldest are the most
//! likely to be too late.

mod listings;

use std::collections::VecDeque;
use std::sync::Arc;

use hsci_extension::Ino;
use parking_lot::{Condvar, Mutex};

pub(super) use self::listings::Part;
use self::listings::{DIRECTORIES, LONGEST, Listings};
use super::placement::Placement;
use crate::lower::LowerTree;

/// Orders that wait; further ones are not worth it.
const ORDERS: usize = 8 * DIRECTORIES;
/// Threads that wait for the disk, each at another place of it.
const THREADS: usize = 3;

/// What the thread is to do.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    /// These will be read soon, in this order.
    Read(Vec<Ino>),
    /// It is unknown what follows in this directory.
    List(Ino),
    /// This directory will be walked through soon.
    Look(Ino),
}

/// What the loops of a mount see of its readers.
pub(super) struct Ahead {
    tree: Arc<LowerTree>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    listings: Mutex<Listings>,
    orders: Mutex<Orders>,
    ordered: Condvar,
}

#[derive(Default)]
struct Orders {
    waiting: VecDeque<Order>,
    have_ended: bool,
}

impl Ahead {
    /// Begins threads of its own, which end with the last loop: the disk is waited for meanwhile.
    pub(super) fn start(
        tree: &Arc<LowerTree>,
        placement: &Arc<Placement>,
    ) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        for _ in 0..THREADS {
            let (tree, placement) = (Arc::clone(tree), Arc::clone(placement));
            let shared = Arc::clone(&shared);
            let run = move || follow(&tree, &placement, &shared);
            std::thread::Builder::new().name("ahead".to_owned()).spawn(run)?;
        }
        Ok(Self { tree: Arc::clone(tree), shared })
    }

    /// A part of a listing was given to a process.
    pub(super) fn listed(&self, part: &Part<'_>, process: u32) {
        let (read, look) = {
            let mut listings = self.shared.listings.lock();
            let is_expected = part.is_first && listings.expects(process);
            let listing = listings.add(part, process);
            let read = listing.filter(|_| is_expected);
            let read = read.and_then(|listing| listing.next());
            (read, listings.walk(part, process))
        };
        // Of what was listed, the lower file system has all in memory.
        let look = look.into_iter().filter(|next| !self.tree.was_listed(*next)).map(Order::Look);
        self.shared.send(read.into_iter().chain(look));
    }

    /// The start of a file was read.
    pub(super) fn read(&self, directory: Ino, file: Ino, process: u32) {
        let order = self.shared.listings.lock().step(directory, file, process);
        self.shared.send(order.into_iter());
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.orders.lock().have_ended = true;
        self.shared.ordered.notify_all();
    }
}

impl Shared {
    /// Orders that are to be carried out one after the other, before those that wait: these may be too late.
    fn send(&self, more: impl DoubleEndedIterator<Item = Order>) {
        let mut more = more.rev().peekable();
        if more.peek().is_none() {
            return;
        }
        let mut orders = self.orders.lock();
        for order in more {
            orders.waiting.push_front(order);
            self.ordered.notify_one();
        }
        orders.waiting.truncate(ORDERS);
    }

    /// The next order; `None` at the end. Who waits for one does not spin, as who waits at a channel does.
    fn next(&self) -> Option<Order> {
        let mut orders = self.orders.lock();
        while orders.waiting.is_empty() && !orders.have_ended {
            self.ordered.wait(&mut orders);
        }
        if orders.have_ended { None } else { orders.waiting.pop_front() }
    }
}

fn follow(tree: &LowerTree, placement: &Placement, shared: &Shared) {
    let read = |files: Vec<Ino>| files.into_iter().for_each(|file| tree.read_ahead(file));
    while let Some(order) = shared.next() {
        placement.make_way();
        match order {
            Order::Read(files) => read(files),
            Order::Look(directory) => tree.look_ahead(directory),
            Order::List(directory) => {
                let files = tree.files_in(directory, LONGEST);
                let order = shared.listings.lock().fill(directory, files);
                if let Some(Order::Read(files)) = order {
                    read(files);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_orders_come_first_and_the_oldest_go() {
        let shared = Shared::default();
        let looks = |from: u64, to: u64| (from..to).map(|directory| Order::Look(Ino(directory)));
        shared.send(looks(0, ORDERS as u64));
        shared.send(looks(1000, 1003));
        shared.send(looks(0, 0));
        let taken: Vec<_> = (0..ORDERS).map(|_| shared.next().expect("an order")).collect();
        let last = ORDERS as u64 - 3;
        assert!(taken.into_iter().eq(looks(1000, 1003).chain(looks(0, last))));
        shared.orders.lock().have_ended = true;
        assert_eq!(shared.next(), None);
    }
}
