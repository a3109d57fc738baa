//! The contract between HSCI's host and its extensions: all that an extension author reads.
//!
//! An extension extends a *lower directory*, one that exists on some other file system. There are two
//! kinds:
//!
//! * a **content extension**, [`Content`], transforms the bytes of regular files. Names, links,
//!   attributes, permissions and locking are the host's business;
//! * a **layer extension**, [`Layer`], has one method per file-system operation, each of which
//!   passes the call on to the layer below unless an extension overrides it.
//!
//! A content extension becomes a layer by an adapter ([`ContentFs`]), and layers stack: each is a
//! [`FileSystem`] above another one.
//!
//! [`Extension`] ties an extension to its name, its options and its start. Nothing here knows FUSE,
//! file descriptors, threads of the host or any concrete extension.

mod attr;
mod call;
pub mod check;
pub mod content;
mod errno;
mod error;
mod extension;
mod filesystem;
mod flags;
pub mod journal;
mod lower;
mod needs;
pub mod options;
#[doc(hidden)]
pub mod protection;
pub mod synthetic;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod views;

pub use attr::{Attr, DirEntry, Entry, FileKind, Ino, Opened, SetAttr, SetTime, StatFs};
pub use call::{Call, CallOptions, Credentials};
pub use content::{Content, ContentFs, Context, OpenFile, Scan, Settled};
pub use errno::Errno;
pub use error::{Cause, Error, Result};
pub use extension::{
    Checked, Declaration, Environment, Extension, Finding, Kernel, Recovery, Severity,
};
pub use filesystem::{FileSystem, Layer, Nothing, Stack, Whence};
pub use flags::{FallocateFlags, OpenFlags, RenameFlags, XattrFlags};
pub use lower::{Acting, FileId, Lifetime, LowerFile, Reopened, Store, Times};
pub use needs::Needs;

/// Version of this contract. Goes up with what an older host could not serve; a program says it at its start.
pub const VERSION: u32 = 1;

/// Prefix of the extended attributes that address the file system itself rather than a file:
/// they are answered by [`FileSystem::control_get`] and [`FileSystem::control_set`], are never
/// stored, never listed, and the kernel asks no permission for them.
pub const CONTROL_PREFIX: &str = "system.hsci.";

/// The directory at the root of a store that belongs to the host and the extension. It is not
/// visible through the mount, and its name cannot be used there.
pub const RESERVED_NAME: &str = ".hsci";

/// The examples of the page for authors are tested.
#[cfg(all(doctest, feature = "testkit"))]
#[doc = include_str!("../../../docs/src/reference/extensions.md")]
struct Extensions;
