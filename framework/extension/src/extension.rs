//! An extension as the host sees it before any file is touched.

use std::sync::Arc;

use crate::options::{OptionSpec, Options};
use crate::{FileSystem, Ino, Result, Store};

/// The requests that an extension wants to see although the kernel could keep them to itself.
///
/// Opens, directory opens and flushes that nobody wants are never sent, which is the largest part
/// of what makes a mount fast. The host dispatches what any layer of the stack wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dispatch {
    /// Open and release of files.
    pub open: bool,
    /// Each close of a descriptor.
    pub flush: bool,
}

/// What the host tells the kernel on an extension's behalf.
pub trait Kernel: Send + Sync {
    /// The attributes of an inode changed behind the kernel's back.
    fn invalidate_attributes(&self, ino: Ino);

    /// The content of an inode changed behind the kernel's back.
    fn invalidate_content(&self, ino: Ino);
}

/// What an extension is given to start with.
#[derive(Clone)]
pub struct Environment {
    /// The layer below.
    pub lower: Arc<dyn FileSystem>,
    /// The extension's own corner of the store.
    pub store: Arc<dyn Store>,
    /// Options, checked against [`Extension::options`].
    pub options: Options,
    /// The way to the kernel's caches; does nothing where there is no mount.
    pub kernel: Arc<dyn Kernel>,
    /// True if nothing may be written: `check` and `export` of a store that is not mounted.
    pub read_only: bool,
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost; recovery or a later settle mends it.
    Notice,
    /// Something cannot be read.
    Damage,
}

/// Something that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where: a path relative to the root, or a part of the store.
    pub place: String,
    /// What is wrong, and which logical bytes it concerns.
    pub text: String,
}

/// The sum of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Regular files looked at.
    pub files: u64,
    /// Logical bytes verified against a checksum.
    pub verified_bytes: u64,
    /// Logical bytes in forms that carry no checksum.
    pub unverified_bytes: u64,
}

/// An extension: what it is called, what it takes, and how it starts.
pub trait Extension: 'static {
    /// The name, as in `--extension NAME`; its program is `hsci-extension-NAME`.
    const NAME: &'static str;
    /// One line for `--help`.
    const ABOUT: &'static str;
    /// Version of what it stores in the lower directory; a store of a newer one is refused. 0: it
    /// stores nothing of its own.
    const FORMAT_VERSION: u32;

    /// The options it takes.
    #[must_use]
    fn options() -> Vec<OptionSpec> {
        Vec::new()
    }

    /// Those options that rules of policies may set for single calls, which then come with the
    /// [`Call`](crate::Call::option).
    #[must_use]
    fn rule_options() -> &'static [&'static str] {
        &[]
    }

    /// The requests it wants dispatched although it could do without.
    #[must_use]
    fn dispatch() -> Dispatch {
        Dispatch::default()
    }

    /// Brings the store into order after whatever happened to it, and returns the layer to serve.
    fn start(environment: &Environment) -> Result<Arc<dyn FileSystem>>;

    /// Verifies a store that is not mounted, and reports what is wrong with it. `progress` is told
    /// each file's stored size when it is done.
    fn check(
        environment: &Environment,
        report: &mut dyn FnMut(Finding),
        progress: &mut dyn FnMut(u64),
    ) -> Result<Checked> {
        let (_, _, _) = (environment, report, progress);
        Ok(Checked::default())
    }
}
