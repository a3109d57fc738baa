//! The policy in force on this machine, as hosts find it: a line of JSON, then compiled tables, then what the
//! command keeps of its text.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hsci_engine::{MAX_IMAGE_LEN, Tables};
use serde::{Deserialize, Serialize};

/// Where it is. Only root may write there; a new one replaces it as a whole.
pub const PATH: &str = "/run/hsci/policy";

/// A longer first line is not ours.
const MAX_HEAD_LEN: usize = 64 << 10;
/// Nor is a longer text.
const MAX_NOTE_LEN: u64 = 256 << 20;

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

/// The first line.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    head: Head,
    /// Bytes of the tables, which come after the line.
    tables_len: u64,
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
    /// Puts it at [`PATH`] in place of what is there, with what is to be kept of its text.
    pub fn write(&self, note: &str) -> io::Result<()> {
        let path = Path::new(PATH);
        let new = path.with_extension("new");
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        // What a load that was cut has left is not to be written to.
        let _ = fs::remove_file(&new);
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(&new)?;
        let tables = self.tables.image();
        let line = Line { head: self.head.clone(), tables_len: tables.len() as u64 };
        let mut bytes = serde_json::to_vec(&line).expect("numbers and texts are JSON");
        bytes.push(b'\n');
        bytes.extend(tables);
        file.write_all(&bytes)?;
        file.write_all(note.as_bytes())?;
        fs::rename(new, path)
    }

    /// Reads one; an error says what is wrong with it. The position in the file, which others may
    /// share, does not matter.
    pub fn read(file: &File) -> Result<Self, String> {
        let (Line { head, tables_len }, at) = first_line(file)?;
        if tables_len > MAX_IMAGE_LEN as u64 {
            return Err("too long".to_owned());
        }
        let mut image = vec![0; tables_len as usize];
        file.read_exact_at(&mut image, at).map_err(|error| error.to_string())?;
        let tables = Tables::read(&image).map_err(|error| error.to_string())?;
        Ok(Self { head, tables })
    }
}

/// The first line of a file, and where the tables begin.
fn first_line(file: &File) -> Result<(Line, u64), String> {
    let mut bytes = vec![0; MAX_HEAD_LEN];
    let mut len = 0;
    while len < bytes.len() {
        match file.read_at(&mut bytes[len..], len as u64).map_err(|error| error.to_string())? {
            0 => break,
            more => len += more,
        }
    }
    let end = bytes[..len].iter().position(|byte| *byte == b'\n').ok_or("no policy of hsci")?;
    let line = serde_json::from_slice(&bytes[..end]).map_err(|error| error.to_string())?;
    Ok((line, end as u64 + 1))
}

/// What is kept of the policy's text.
pub fn note(file: &File) -> Result<String, String> {
    let (Line { tables_len, .. }, at) = first_line(file)?;
    let text = |error: io::Error| error.to_string();
    let len = file.metadata().map_err(text)?.len();
    let note_len = at.checked_add(tables_len).and_then(|begin| len.checked_sub(begin));
    let note_len = note_len.filter(|len| *len <= MAX_NOTE_LEN).ok_or("cut off or too long")?;
    let mut note = vec![0; note_len as usize];
    file.read_exact_at(&mut note, len - note_len).map_err(text)?;
    String::from_utf8(note).map_err(|error| error.to_string())
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
