//! The requests that the kernel sends, and how many of each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hsci_protocol::status::{LATENCY_BOUNDS_US, Latency};

macro_rules! operations {
    ($($variant:ident $name:literal,)*) => {
        /// A request, under the kernel's name for it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Operation { $($variant,)* }

        const NAMES: &[&str] = &[$($name,)*];
    };
}

operations! {
    Lookup "lookup",
    Forget "forget",
    Getattr "getattr",
    Setattr "setattr",
    Readlink "readlink",
    Mknod "mknod",
    Mkdir "mkdir",
    Unlink "unlink",
    Rmdir "rmdir",
    Symlink "symlink",
    Rename "rename",
    Link "link",
    Open "open",
    Read "read",
    Write "write",
    Flush "flush",
    Release "release",
    Fsync "fsync",
    Opendir "opendir",
    Readdir "readdir",
    Readdirplus "readdirplus",
    Fsyncdir "fsyncdir",
    Statfs "statfs",
    Setxattr "setxattr",
    Getxattr "getxattr",
    Listxattr "listxattr",
    Removexattr "removexattr",
    Access "access",
    Create "create",
    Fallocate "fallocate",
    Lseek "lseek",
    CopyFileRange "copy_file_range",
    Ioctl "ioctl",
    Control "control",
}

impl Operation {
    /// The kernel's name.
    pub(crate) fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    /// The name of an operation of this or another worker, by its number.
    pub(crate) fn name_of(number: u64) -> &'static str {
        usize::try_from(number).ok().and_then(|number| NAMES.get(number)).unwrap_or(&"unknown")
    }
}

/// How many requests of each kind have arrived, and how long they took. Questions and orders to the file
/// system itself count as `control`.
pub(crate) struct Requests(Vec<Counter>);

#[derive(Default)]
struct Counter {
    arrived: AtomicU64,
    nanoseconds: AtomicU64,
    /// Answers within each of the bounds and in no smaller one; the last place has the others.
    within: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
}

impl Requests {
    pub(crate) fn new() -> Self {
        Self(NAMES.iter().map(|_| Counter::default()).collect())
    }

    pub(crate) fn count(&self, operation: Operation) {
        self.0[operation as usize].arrived.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was carried out.
    pub(crate) fn time(&self, operation: Operation, took: Duration) {
        let counter = &self.0[operation as usize];
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let place = LATENCY_BOUNDS_US.partition_point(|bound| bound * 1000 < nanoseconds);
        counter.within[place].fetch_add(1, Ordering::Relaxed);
        counter.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// All that have arrived.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|counter| counter.arrived.load(Ordering::Relaxed)).sum()
    }

    /// The counts that are not zero, by name.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.by_name(|counter| Some(counter.arrived.load(Ordering::Relaxed)).filter(|of| *of > 0))
    }

    /// How long requests took, of each kind that was carried out.
    pub(crate) fn latencies(&self) -> BTreeMap<String, Latency> {
        self.by_name(|counter| {
            let within = counter.within.iter().map(|count| count.load(Ordering::Relaxed));
            let within: Vec<_> = within.collect();
            let nanoseconds = counter.nanoseconds.load(Ordering::Relaxed);
            within.iter().any(|count| *count > 0).then_some(Latency { nanoseconds, within })
        })
    }

    fn by_name<T>(&self, of: impl Fn(&Counter) -> Option<T>) -> BTreeMap<String, T> {
        let named = NAMES.iter().zip(&self.0);
        named.filter_map(|(name, counter)| Some(((*name).to_owned(), of(counter)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_within_the_first_bound_that_it_keeps() {
        let requests = Requests::new();
        let last = *LATENCY_BOUNDS_US.last().expect("bounds");
        for took in [0, LATENCY_BOUNDS_US[0], LATENCY_BOUNDS_US[0] + 1, last + 1] {
            requests.time(Operation::Read, Duration::from_micros(took));
        }
        let latency = &requests.latencies()["read"];
        assert_eq!(latency.within[..2], [2, 1]);
        assert_eq!(latency.within.last(), Some(&1));
        assert_eq!(latency.within.iter().sum::<u64>(), 4);
        assert_eq!(latency.nanoseconds, (2 * LATENCY_BOUNDS_US[0] + last + 2) * 1000);
    }
}
