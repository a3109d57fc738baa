//! Where the extensions' programs are, and which of them run for whom.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hsci_extension::protection;

/// The program of the extension NAME is called this and NAME.
pub(super) const PREFIX: &str = "hsci-extension-";

/// Where programs of the system are installed.
const SYSTEM: [&str; 4] = ["/usr/local/lib/hsci", "/usr/local/bin", "/usr/lib/hsci", "/usr/bin"];

/// Where to look, and for what.
pub(super) struct Search {
    directories: Vec<PathBuf>,
    /// Only programs that nobody can have put there but those whom this one is trusted from.
    trusted_only: bool,
}

impl Search {
    /// For a program that the caller names: next to this one, or else on PATH.
    pub(super) fn named() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // A relative entry would make the program depend on where the command is called.
        let entries = std::env::split_paths(&path).filter(|entry| entry.is_absolute());
        Self {
            directories: own_directory().into_iter().chain(entries).collect(),
            trusted_only: false,
        }
    }

    /// For programs that the caller does not name. Root runs its own and the system's only.
    pub(super) fn unnamed() -> Self {
        if !rustix::process::geteuid().is_root() || !protection::stands("store-programs") {
            return Self::named();
        }
        let directories = own_directory().into_iter().chain(SYSTEM.map(PathBuf::from)).collect();
        Self { directories, trusted_only: protection::stands("others-programs") }
    }

    /// For those that are next to this one.
    pub(super) fn beside() -> Self {
        Self { directories: own_directory().into_iter().collect(), ..Self::unnamed() }
    }

    /// The program of an extension. Its name is valid.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        let program = format!("{PREFIX}{name}");
        let mut candidates = self.directories.iter().map(|directory| directory.join(&program));
        candidates.find(|path| self.admits(path))
    }

    /// All programs, by the names of their extensions. Of several with one name, the first is found.
    pub(super) fn programs(&self) -> BTreeMap<String, PathBuf> {
        let directories = self.directories.iter().rev();
        let entries = directories.filter_map(|directory| directory.read_dir().ok()).flatten();
        entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let name = entry.file_name().to_str()?.strip_prefix(PREFIX)?.to_owned();
                (is_valid(&name) && self.admits(&entry.path())).then(|| (name, entry.path()))
            })
            .collect()
    }

    fn admits(&self, path: &Path) -> bool {
        path.metadata().is_ok_and(|program| {
            program.is_file()
                && program.mode() & 0o111 != 0
                && (!self.trusted_only || is_trusted(&program))
        })
    }
}

/// Names that make no path.
pub(super) fn is_valid(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !name.is_empty() && name.bytes().all(is_plain)
}

/// True if nobody changes this program who could not change the running one.
fn is_trusted(program: &Metadata) -> bool {
    let own = std::env::current_exe().and_then(std::fs::metadata);
    own.is_ok_and(|own| {
        let writable = program.mode() & 0o022 & !own.mode();
        (program.uid() == 0 || program.uid() == own.uid()) && writable == 0
    })
}

fn own_directory() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.to_owned())
}
