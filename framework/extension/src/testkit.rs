//! What extensions are tested with: lower files in memory, files that fail, files that forget, a
//! whole tree of them to run stacks of extensions without a mount, and the conformance suite.
//!
//! ```
//! # use hsci_extension::{testkit::MemoryTree, Call, FileSystem, Ino};
//! let tree = MemoryTree::new();
//! let entry = tree.mknod(&Call::internal(), Ino::ROOT, "name".as_ref(), 0o100_644, 0)?;
//! tree.write(&Call::internal(), entry.ino, 0, b"text")?;
//! # Ok::<(), hsci_extension::Error>(())
//! ```

pub mod conformance;
mod failing;
mod forgetful;
mod memory;
mod store;
#[cfg(test)]
mod tests;
mod tree;

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

pub use failing::{Failing, Fault, Faults};
pub use forgetful::{Change, Forgetful, Kept};
pub use memory::MemoryFile;
use parking_lot::Mutex;
pub use store::MemoryStore;
pub use tree::MemoryTree;

use crate::options::Options;
use crate::{Environment, Extension, FileSystem, Ino, Kernel, Result};

/// A kernel that remembers what it was told.
#[derive(Debug, Default)]
pub struct MemoryKernel {
    attributes: Mutex<Vec<Ino>>,
    contents: Mutex<Vec<Ino>>,
    entries: Mutex<Vec<(Ino, OsString)>>,
}

impl MemoryKernel {
    /// The inodes whose attributes were invalidated so far, in order.
    #[must_use]
    pub fn attributes(&self) -> Vec<Ino> {
        self.attributes.lock().clone()
    }

    /// The inodes whose content was invalidated so far, in order.
    #[must_use]
    pub fn contents(&self) -> Vec<Ino> {
        self.contents.lock().clone()
    }

    /// The names that were invalidated or deleted so far, in order.
    #[must_use]
    pub fn entries(&self) -> Vec<(Ino, OsString)> {
        self.entries.lock().clone()
    }
}

impl Kernel for MemoryKernel {
    fn invalidate_attributes(&self, ino: Ino) {
        self.attributes.lock().push(ino);
    }

    fn invalidate_content(&self, ino: Ino) {
        self.contents.lock().push(ino);
    }

    fn invalidate_entry(&self, parent: Ino, name: &OsStr) {
        self.entries.lock().push((parent, name.to_owned()));
    }

    fn deleted(&self, parent: Ino, name: &OsStr, _: Ino) {
        self.entries.lock().push((parent, name.to_owned()));
    }
}

/// An environment in memory, with no options.
#[must_use]
pub fn environment(tree: &Arc<MemoryTree>) -> Environment {
    let kernel = Arc::new(MemoryKernel::default());
    Environment::new(Arc::clone(tree) as _, tree.store(), Options::default(), kernel)
}

/// Starts an extension over a tree in memory, with options as after `-o`.
///
/// # Panics
/// If the options are not what the extension declares.
pub fn start<E: Extension>(
    tree: &Arc<MemoryTree>,
    options: &[(&str, &str)],
) -> Result<Arc<dyn FileSystem>> {
    E::start(&with_options::<E>(environment(tree), options))
}

/// The same where nothing may be written, as `check`, `export` and a mount with `ro` start it.
///
/// # Panics
/// If the options are not what the extension declares.
pub fn start_read_only<E: Extension>(
    tree: &Arc<MemoryTree>,
    options: &[(&str, &str)],
) -> Result<Arc<dyn FileSystem>> {
    E::start(&with_options::<E>(environment(tree).read_only(), options))
}

fn with_options<E: Extension>(environment: Environment, given: &[(&str, &str)]) -> Environment {
    let options = Options::check(&E::options(), given.iter().copied());
    let options = options.unwrap_or_else(|complaint| panic!("{complaint}"));
    Environment { options, ..environment }
}
