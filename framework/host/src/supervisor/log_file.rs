//! Where a supervisor in the background and its worker log to.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

/// Names of files end here at the latest.
const MAX_NAME: usize = 200;

/// The log of the mount at a directory; `None` where there is no place for it.
pub(super) fn path(dir: &Path) -> Option<PathBuf> {
    let place = if geteuid().is_root() {
        PathBuf::from("/run/hsci")
    } else if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR") {
        PathBuf::from(runtime).join("hsci")
    } else {
        std::env::home_dir()?.join(".local/state/hsci")
    };
    DirBuilder::new().recursive(true).mode(0o755).create(&place).ok()?;
    let bytes = dir.as_os_str().as_bytes().iter().skip(1);
    let name: Vec<u8> = bytes.map(|byte| if *byte == b'/' { b'-' } else { *byte }).collect();
    // The end of a path tells more than its start.
    let mut name = name[name.len().saturating_sub(MAX_NAME)..].to_vec();
    name.extend(b".log");
    Some(place.join(OsString::from_vec(name)))
}

/// The complaint with which the log of the mount at a directory ends.
pub fn last_words(dir: &Path) -> Option<String> {
    let mut file = File::open(path(&std::path::absolute(dir).ok()?)?).ok()?;
    let end = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(end.saturating_sub(MAX_WORDS))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    text.lines().next_back().filter(|line| !line.contains(" INFO ")).map(str::to_owned)
}

/// Bytes at the end of a log that are looked at.
const MAX_WORDS: u64 = 4096;

/// Opens a log to append to; names of files may stand in it, so others do not read it.
pub(super) fn open(path: &Path) -> Option<File> {
    File::options().append(true).create(true).mode(0o600).open(path).ok()
}
