//! The requests that the kernel sends, and how many of each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// How many requests of each kind have arrived. Questions and orders to the file system itself
/// count as `control`.
pub(crate) struct Requests(Vec<AtomicU64>);

impl Requests {
    pub(crate) fn new() -> Self {
        Self(NAMES.iter().map(|_| AtomicU64::new(0)).collect())
    }

    pub(crate) fn count(&self, operation: Operation) {
        self.0[operation as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts that are not zero, by name.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        let named = NAMES.iter().zip(counts).filter(|(_, count)| *count > 0);
        named.map(|(name, count)| ((*name).to_owned(), count)).collect()
    }
}
