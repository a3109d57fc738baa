//! Where a supervisor in the background and its worker log to.

use std::fs::{DirBuilder, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
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
    let name: Vec<u8> = dir.as_os_str().as_bytes().iter().skip(1).copied().collect();
    let mut name: Vec<u8> =
        name.into_iter().map(|byte| if byte == b'/' { b'-' } else { byte }).collect();
    let cut = name.len().saturating_sub(MAX_NAME);
    name.drain(..cut);
    name.extend(b".log");
    Some(place.join(std::ffi::OsString::from_vec(name)))
}

/// Opens a log to append to.
pub(super) fn open(path: &Path) -> Option<File> {
    File::options().append(true).create(true).open(path).ok()
}
