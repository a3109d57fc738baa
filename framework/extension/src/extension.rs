//! An extension as the host sees it before any file is touched.

use std::ffi::OsStr;
use std::sync::Arc;

use crate::options::{OptionSpec, Options};
use crate::{Call, Ino, Needs, Result, Stack, Store, check};

/// What an extension says about itself before it starts. The host computes from the declarations of a whole
/// stack which requests the kernel sends, and what it may remember.
///
/// What nobody declares costs nothing: opens, closes and listings that nobody wants to see are never sent,
/// which is the largest part of what makes a mount fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Declaration {
    /// It wants to see opens and releases of files.
    pub opens: bool,
    /// It wants to see each close of a descriptor.
    pub flushes: bool,
    /// Which names there are, where they lead or what a directory lists differs from caller to caller: the kernel
    /// remembers no name and no listing.
    pub names_differ: bool,
    /// Its calls may wait for long, for a network or a person: the host starts more threads while they do. Reads and
    /// writes come in shorter pieces then.
    pub waits: bool,
    /// How many threads are kept free for calls that do not wait; `None` for as many as the machine has processors, within limits.
    pub threads: Option<usize>,
}

impl Declaration {
    /// Nothing is declared.
    #[must_use]
    pub const fn new() -> Self {
        Self { opens: false, flushes: false, names_differ: false, waits: false, threads: None }
    }

    /// It wants to see opens and releases of files.
    #[must_use]
    pub const fn opens(self) -> Self {
        Self { opens: true, ..self }
    }

    /// It wants to see each close of a descriptor.
    #[must_use]
    pub const fn flushes(self) -> Self {
        Self { flushes: true, ..self }
    }

    /// Names or listings differ from caller to caller.
    #[must_use]
    pub const fn names_differ(self) -> Self {
        Self { names_differ: true, ..self }
    }

    /// Its calls may wait for long.
    #[must_use]
    pub const fn waits(self) -> Self {
        Self { waits: true, ..self }
    }

    /// It works on so many calls at a time.
    #[must_use]
    pub const fn threads(self, threads: usize) -> Self {
        Self { threads: Some(threads), ..self }
    }

    /// What a stack of two declares.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            opens: self.opens | other.opens,
            flushes: self.flushes | other.flushes,
            names_differ: self.names_differ | other.names_differ,
            waits: self.waits | other.waits,
            threads: self.threads.max(other.threads),
        }
    }
}

/// What the host tells the kernel on an extension's behalf.
pub trait Kernel: Send + Sync {
    /// The attributes of an inode changed behind the kernel's back.
    fn invalidate_attributes(&self, ino: Ino);

    /// The content of an inode changed behind the kernel's back.
    fn invalidate_content(&self, ino: Ino);

    /// A name leads elsewhere now, or nowhere, or is there where none was; listings of the directory are out of
    /// date as well.
    fn invalidate_entry(&self, parent: Ino, name: &OsStr);

    /// A name is gone, and those who watch or use the inode under it are to know.
    fn deleted(&self, parent: Ino, name: &OsStr, ino: Ino);

    /// How many requests there were so far. Work in the background can tell by it whether anybody waits.
    fn requests(&self) -> u64 {
        0
    }

    /// For a thread that works in the background, before each portion of work, of a millisecond or so: while a caller and
    /// who serves it take turns on one core, the thread leaves that core, and may be there again afterwards. Threads that
    /// it starts are on the same cores until they call this themselves. It costs nothing where nothing has changed.
    fn make_way(&self) {}

    /// The supplementary groups of a caller, found out when asked for; empty if the caller is gone or is
    /// nobody in particular.
    fn groups(&self, call: &Call) -> Vec<u32> {
        let _ = call;
        Vec::new()
    }
}

/// What an extension is given to start with.
#[derive(Clone)]
#[non_exhaustive]
pub struct Environment {
    /// The layers below.
    pub lower: Arc<Stack>,
    /// The extension's own corner of the store.
    pub store: Arc<dyn Store>,
    /// Options, checked against [`Extension::options`].
    pub options: Options,
    /// The way to the kernel's caches; does nothing where there is no mount.
    pub kernel: Arc<dyn Kernel>,
    /// True if nothing may be written: `check` and `export` of a store that is not mounted.
    pub read_only: bool,
    /// Has [`Extension::recover`] carried out elsewhere.
    pub(crate) recovery: Option<Recovery>,
}

/// Has an extension's store brought into order, and returns what that has found.
pub type Recovery = Arc<dyn Fn() -> Result<Vec<u8>> + Send + Sync>;

impl Environment {
    /// The surroundings of an extension that may write.
    #[must_use]
    pub fn new(
        lower: Arc<Stack>,
        store: Arc<dyn Store>,
        options: Options,
        kernel: Arc<dyn Kernel>,
    ) -> Self {
        Self { lower, store, options, kernel, read_only: false, recovery: None }
    }

    /// The same surroundings, where the store is brought into order elsewhere: for the host.
    #[must_use]
    pub fn recovering(self, recovery: Recovery) -> Self {
        Self { recovery: Some(recovery), ..self }
    }

    /// Has [`Extension::recover`] carried out, and returns what it returns: by the host, in a process that has no rights,
    /// or here where there is none. To be called before anything else of the store is read.
    pub fn recover<E: Extension>(&self) -> Result<Vec<u8>> {
        match &self.recovery {
            Some(recovery) => recovery(),
            None => E::recover(&self.store, self.read_only),
        }
    }

    /// The same surroundings, where nothing may be written.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }
}

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost; recovery or a later settle mends it.
    Notice,
    /// A repair has dropped what could not be read, and what is left is whole.
    Lost,
    /// Something cannot be read.
    Damage,
}

/// Something that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where: a path relative to the root, or a part of the store.
    pub place: String,
    /// What is wrong, and which logical bytes it concerns.
    pub text: String,
}

impl Finding {
    /// Something at a place.
    pub fn new(severity: Severity, place: impl Into<String>, text: impl Into<String>) -> Self {
        Self { severity, place: place.into(), text: text.into() }
    }
}

impl Checked {
    /// What was read was verified as well, for the extension reads nothing that it cannot verify.
    #[must_use]
    pub fn all_verified(self) -> Self {
        let verified_bytes = self.verified_bytes + self.unverified_bytes;
        Self { verified_bytes, unverified_bytes: 0, ..self }
    }

    /// What a stack of two has looked at. What one of them verifies, the other need not.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            files: self.files.max(other.files),
            verified_bytes: self.verified_bytes.max(other.verified_bytes),
            unverified_bytes: self.unverified_bytes.min(other.unverified_bytes),
        }
    }
}

/// The sum of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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
    /// A store of an older version becomes one of this version when it is mounted to be written. True: not before
    /// the extension calls [`Store::bring_forward`].
    const BRINGS_FORWARD: bool = false;

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

    /// What it wants to see, and what the kernel must not remember.
    #[must_use]
    fn declaration() -> Declaration {
        Declaration::new()
    }

    /// What it needs beyond what every worker may do.
    #[must_use]
    fn needs() -> Needs {
        Needs::default()
    }

    /// Brings the store into order after whatever happened to it, and returns what [`start`](Self::start) has to know, which
    /// has it done by [`Environment::recover`]. It reads what anybody may have written, so the host does not trust it: it is
    /// carried out in a process of its own that has the given store, and nothing else. With `read_only`
    /// nothing is to be changed.
    fn recover(store: &Arc<dyn Store>, read_only: bool) -> Result<Vec<u8>> {
        let (_, _) = (store, read_only);
        Ok(Vec::new())
    }

    /// Returns the layer to serve, over a store that is in order.
    fn start(environment: &Environment) -> Result<Arc<Stack>>;

    /// Verifies a store that is not mounted, and reports what is wrong with it. `progress` is told
    /// each file's stored size when it is done. Unless overridden, [all is read](check::by_reading).
    fn check(
        environment: &Environment,
        report: &mut dyn FnMut(Finding),
        progress: &mut dyn FnMut(u64),
    ) -> Result<Checked> {
        check::by_reading(&*Self::start(environment)?, report, progress)
    }

    /// Repairs a store that is not mounted: drops what is known to be damaged, keeps everything else, and reports
    /// what was lost ([`Severity::Lost`]) and what stays damaged. What it does not understand it leaves as it is,
    /// and a second repair has nothing to do. Unless overridden, nothing is changed, and [`check`](Self::check)
    /// reports.
    fn repair(
        environment: &Environment,
        report: &mut dyn FnMut(Finding),
        progress: &mut dyn FnMut(u64),
    ) -> Result<Checked> {
        Self::check(&environment.clone().read_only(), report, progress)
    }
}
