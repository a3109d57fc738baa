//! The policy in force on this machine, as hosts find it: a line of JSON, then compiled tables.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hsci_engine::{MAX_IMAGE_LEN, Tables};
use serde::{Deserialize, Serialize};

/// Where it is. Only root may write there; a new one replaces it as a whole.
pub const PATH: &str = "/run/hsci/policy";

/// A longer file is not ours.
const MAX_LEN: u64 = MAX_IMAGE_LEN as u64 + (64 << 10);

/// What is to be known of a policy beside its tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Where its text is.
    pub file: PathBuf,
    /// Tells it from the one before: nanoseconds since 1970 when it was loaded.
    pub number: u64,
    /// The guard judges all calls, so that hosts do not.
    pub guarded: bool,
    /// What would be refused is reported, and let pass.
    pub permissive: bool,
}

/// A policy as it is handed to hosts.
#[derive(Clone, Debug)]
pub struct Handed {
    /// What is to be known of it.
    pub head: Head,
    /// The rules.
    pub tables: Tables,
}

impl Handed {
    /// Puts it at [`PATH`] in place of what is there.
    pub fn write(&self) -> io::Result<()> {
        let path = Path::new(PATH);
        let new = path.with_extension("new");
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        // What a load that was cut has left is not to be written to.
        let _ = fs::remove_file(&new);
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(&new)?;
        let mut bytes = serde_json::to_vec(&self.head).expect("numbers and texts are JSON");
        bytes.push(b'\n');
        bytes.extend(self.tables.image());
        file.write_all(&bytes)?;
        fs::rename(new, path)
    }

    /// Reads one; an error says what is wrong with it. The position in the file, which others may
    /// share, does not matter.
    pub fn read(file: &File) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let len = file.metadata().map_err(text)?.len();
        if len > MAX_LEN {
            return Err("too long".to_owned());
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0).map_err(text)?;
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or("no policy of hsci")?;
        let (head, image) = bytes.split_at(end + 1);
        let head = serde_json::from_slice(head).map_err(|error| error.to_string())?;
        let tables = Tables::read(image).map_err(|error| error.to_string())?;
        Ok(Self { head, tables })
    }
}

impl Handed {
    /// Index of the target that a directory is in.
    #[must_use]
    pub fn target(&self, dir: &Path) -> Option<usize> {
        let class = self.tables.class(super::root_state(&self.tables, dir));
        self.tables.target(class).map(|target| target as usize)
    }
}

/// Opens the policy in force; nothing if there is none.
pub fn open() -> io::Result<Option<File>> {
    match File::open(PATH) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Ends the policy in force; false if there is none.
pub fn remove() -> io::Result<bool> {
    match fs::remove_file(PATH) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
