//! What those who mount a store have to know of its files: images that wait in a journal, and those that were given up.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use hsci_extension::{Errno, Error, FileId, FileSystem, LowerFile, Result, check};
use parking_lot::Mutex;

use crate::format::MAX_CHUNKS;

/// What is said of files, by their paths.
#[derive(Default)]
pub(crate) struct Notices(Mutex<BTreeMap<String, String>>);

impl Notices {
    /// What recovery has to say; the paths are looked for below the root.
    pub(crate) fn after_recovery(said: HashMap<FileId, String>, lower: &dyn FileSystem) -> Self {
        let notices = Self::default();
        if said.is_empty() {
            return notices;
        }
        let mut left = said;
        check::regular_files(lower, &mut |path, found| {
            let id = found.and_then(|(ino, _)| lower.file(ino)?.id());
            if let Some(text) = id.ok().and_then(|id| left.remove(&id)) {
                notices.add(path, text);
            }
        });
        for text in left.into_values() {
            notices.add(Path::new("a file without a path"), text);
        }
        notices
    }

    pub(crate) fn add(&self, path: &Path, text: String) {
        let path = path.to_string_lossy().into_owned();
        log::warn!("{path}: {text}");
        self.0.lock().insert(path, text);
    }

    /// A file is longer than any image, or is not any more; said once.
    pub(crate) fn note_length(&self, path: impl FnOnce() -> PathBuf, is_too_long: bool) {
        if !is_too_long && self.0.lock().is_empty() {
            return;
        }
        let (path, text) = (path(), too_long());
        let name = path.to_string_lossy();
        let said = self.0.lock().get(&*name) == Some(&text);
        match is_too_long {
            true if !said => self.add(&path, text),
            false if said => drop(self.0.lock().remove(&*name)),
            _ => {}
        }
    }

    pub(crate) fn list(&self) -> Vec<String> {
        self.0.lock().iter().map(|(path, text)| format!("{path}: {text}")).collect()
    }
}

/// Chunks of such a file are as long as chunks can be, 1 MiB.
fn too_long() -> String {
    format!("it stays as it is stored, for no image holds more than {} TiB", MAX_CHUNKS >> 20)
}

/// An image was committed, and is not in its file.
pub(crate) fn waits(file: Option<&dyn LowerFile>, error: &Error) -> String {
    let is_fixed = file.is_some_and(|file| matches!(file.is_fixed(), Ok(true)));
    let way_out = match error {
        _ if is_fixed => {
            "it is immutable or append-only: `chattr -i -a` it, and mount the store again"
        }
        Error::Lower(Errno::ROFS) => "make its file system writable, and mount the store again",
        Error::Lower(Errno::NOSPC | Errno::DQUOT) => "make room, and mount the store again",
        Error::Damaged(_) => {
            "the image is damaged: copy what can be read, or put the file back from a backup"
        }
        _ => "when that is mended, mount the store again",
    };
    format!("its image is still in a journal, and is read there ({error}); {way_out}")
}

/// An image is not put into its file.
pub(crate) fn given_up() -> String {
    "it was changed while the store was not mounted: it keeps that, and its image in a journal is dropped".to_owned()
}

/// The same for a file that is looked at without a mount.
pub(crate) fn awaited(file: &dyn LowerFile) -> Result<String> {
    let way_out = match file.is_fixed()? {
        true => "it is immutable or append-only: `chattr -i -a` it, and mount the store",
        false => "mount the store to be written, which names what keeps it",
    };
    Ok(format!("its last image is in a journal still: {way_out}"))
}
