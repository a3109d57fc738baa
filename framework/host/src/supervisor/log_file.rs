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

/// What is written to a log from some time on.
#[derive(Debug)]
pub(super) struct Said {
    log: Option<(PathBuf, u64)>,
}

impl Said {
    pub(super) fn from_now(log: Option<&Path>) -> Self {
        let len = |log: &Path| std::fs::metadata(log).map_or(0, |log| log.len());
        Self { log: log.map(|log| (log.to_owned(), len(log))) }
    }

    /// The reason among it, and where the rest is: `: REASON; LOG has more`. Empty without a log.
    pub(super) fn quote(&self) -> String {
        let Some((log, start)) = &self.log else { return String::new() };
        let place = log.display();
        match read_from(log, *start).as_deref().and_then(reason) {
            Some(reason) => format!(": {reason}; {place} has more"),
            None => format!("; its log is {place}"),
        }
    }
}

fn read_from(log: &Path, start: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_WORDS).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The line of a log that says why a program ended: the message of a panic, or else the last complaint.
fn reason(text: &str) -> Option<String> {
    let mut lines = text.lines();
    if lines.any(|line| line.contains("panicked at")) {
        return lines.next().map(|message| format!("panic: {}", message.trim()));
    }
    let is_complaint = |line: &&str| !line.contains(" INFO ") && !line.trim().is_empty();
    text.lines().rfind(is_complaint).map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_quoted_from_what_was_logged_since() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("log");
        std::fs::write(&log, "thread 'x' panicked at a.rs:1:\nold\n").expect("write");
        let said = Said::from_now(Some(&log));
        assert_eq!(said.quote(), format!("; its log is {}", log.display()));
        let mut file = File::options().append(true).open(&log).expect("open");
        std::io::Write::write_all(
            &mut file,
            b"[t INFO x] hello\n\nthread 'main' panicked at b.rs:2:\nno key\nnote: run with\n",
        )
        .expect("write");
        assert_eq!(said.quote(), format!(": panic: no key; {} has more", log.display()));
        assert_eq!(reason("[t INFO x] a\n[t ERROR x] b\n\n").as_deref(), Some("[t ERROR x] b"));
        assert_eq!(Said::from_now(None).quote(), "");
    }
}
