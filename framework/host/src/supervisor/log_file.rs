//! Where a supervisor in the background and its worker log to.

use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;

/// Names of files end here at the latest.
const MAX_NAME: usize = 200;
const ENDING: &[u8] = b".log";
/// The most bytes of a log, and how often that is looked at.
const MAX_LEN: u64 = 1 << 20;
const LOOK: Duration = Duration::from_secs(5);

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
    Some(place.join(name(dir.as_os_str().as_bytes())))
}

/// No two directories have the same: `-` stands for `/`, and where a name has one it is written out, as by
/// systemd-escape(1).
fn name(dir: &[u8]) -> OsString {
    let mut name = Vec::with_capacity(dir.len());
    for byte in dir.iter().skip(1) {
        match byte {
            b'/' => name.push(b'-'),
            b'-' | b'\\' => name.extend(format!("\\x{byte:02x}").bytes()),
            other => name.push(*other),
        }
    }
    if name.len() > MAX_NAME {
        // The end of a path tells more than its start.
        let whole = crc32fast::hash(dir);
        let end = name.split_off(name.len() - MAX_NAME);
        name = [format!("{whole:08x}-").as_bytes(), &end].concat();
    }
    name.extend(ENDING);
    OsString::from_vec(name)
}

/// Keeps a log short as long as this process runs: what is too much goes to a second file, which takes the
/// place of the last one.
pub(super) fn limit(log: PathBuf) {
    let watch = move || {
        loop {
            std::thread::sleep(LOOK);
            if let Err(error) = cut(&log, MAX_LEN) {
                log::debug!("{}: {error}", log.display());
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("log".to_owned()).spawn(watch) {
        log::warn!("the log is not limited: {error}");
    }
}

/// Those who write go on at the start, for they append.
fn cut(log: &Path, max_len: u64) -> std::io::Result<()> {
    if std::fs::metadata(log)?.len() <= max_len {
        return Ok(());
    }
    let mut old = log.as_os_str().to_owned();
    old.push(".old");
    let file = File::options().read(true).write(true).open(log)?;
    let kept = File::options().write(true).create(true).truncate(true).mode(0o600).open(old)?;
    (&file).seek(SeekFrom::End(-max_len.cast_signed()))?;
    std::io::copy(&mut (&file).take(max_len), &mut &kept)?;
    file.set_len(0)
}

/// A log in which nothing stands goes with its mount.
pub(super) fn remove_empty(log: &Path) {
    if std::fs::metadata(log).is_ok_and(|log| log.len() == 0) {
        let _ = std::fs::remove_file(log);
    }
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
    fn no_two_directories_have_the_same_log() {
        let long = |end: &str| format!("/{}/{end}", "x".repeat(400));
        let dirs = ["/c/a-b", "/c-a/b", "/c/a/b", r"/c/a\x2db", &long("a"), &long("b"), "/"];
        let mut dirs: Vec<_> = dirs.map(str::to_owned).into();
        dirs.push(format!("/y{}/a", "x".repeat(399)));
        let names: std::collections::HashSet<_> =
            dirs.iter().map(|dir| name(dir.as_bytes())).collect();
        assert_eq!(names.len(), dirs.len(), "{names:?}");
        assert!(names.iter().all(|name| name.len() < 255));
        assert_eq!(name(b"/c/a-b"), r"c-a\x2db.log");
    }

    #[test]
    fn a_log_stays_short_and_its_end_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("log");
        let mut writer = open(&log).expect("a log");
        let mut write = |text: &str| std::io::Write::write_all(&mut writer, text.as_bytes());
        write("0123456789abc").expect("written");
        cut(&log, 20).expect("looked at");
        assert_eq!(std::fs::read(&log).expect("read"), b"0123456789abc");
        cut(&log, 10).expect("cut");
        write("more").expect("written");
        assert_eq!(std::fs::read(&log).expect("read"), b"more");
        assert_eq!(std::fs::read(dir.path().join("log.old")).expect("read"), b"3456789abc");
    }

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
