//! Programs that write to the lower directory without the mount.
//!
//! What they have open is left as it is stored for as long as they have it open; but nobody who reads
//! through the mount is told of what they write, so a mount over them is made only on purpose.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hsci_protocol::failure::{Exit, Failure};
use rustix::fs::{FileType, fstat};

use crate::place;

/// More than these are not named.
const MOST: usize = 5;
/// The owner's right to write, which the links in `/proc/PID/fd` have where the descriptor has it.
const WRITES: u32 = 0o200;

/// Fails if there are any, as far as this user may look.
pub(super) fn refuse(root: &OwnedFd, lower: &Path) -> Result<(), Failure> {
    let Ok(stat) = fstat(root) else { return Ok(()) };
    let found = find(stat.st_dev, lower);
    if found.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = found.iter().take(MOST).map(Writer::name).collect();
    let others = match found.len().saturating_sub(MOST) {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let text = format!(
        "{}: open for writing: {}{others}; end these programs first, or use --force: what they have open stays uncompressed meanwhile",
        lower.display(),
        named.join(", ")
    );
    Err(Failure::new(Exit::InUse, text))
}

struct Writer {
    process: u32,
    program: String,
    file: PathBuf,
}

impl Writer {
    fn name(&self) -> String {
        format!("{} by {} ({})", self.file.display(), self.program, self.process)
    }
}

/// One file of each process that has any below a directory open for writing, or mapped.
fn find(device: u64, lower: &Path) -> Vec<Writer> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let writer = |process: fs::DirEntry| {
        let number: u32 = process.file_name().to_str()?.parse().ok()?;
        let process = process.path();
        let file = open_in(&process, device, lower).or_else(|| mapped_in(&process, lower))?;
        let program = fs::read_to_string(process.join("comm")).unwrap_or_default();
        let (program, file) = (program.trim_end().to_owned(), file.strip_prefix(lower).ok()?);
        Some(Writer { process: number, program, file: file.to_owned() })
    };
    let own = std::process::id();
    let mut found: Vec<_> = processes.flatten().filter_map(writer).collect();
    found.retain(|writer| writer.process != own);
    found
}

fn open_in(process: &Path, device: u64, lower: &Path) -> Option<PathBuf> {
    fs::read_dir(process.join("fd")).ok()?.flatten().find_map(|entry| {
        let link = entry.path();
        if fs::symlink_metadata(&link).ok()?.mode() & WRITES == 0 {
            return None;
        }
        let path = fs::read_link(&link).ok().filter(|path| path.starts_with(lower))?;
        let file = place::known(&link).ok()?;
        let is_regular = FileType::from_raw_mode(file.stx_mode.into()) == FileType::RegularFile;
        (is_regular && place::device_of(&file) == device && file.stx_nlink > 0).then_some(path)
    })
}

/// A shared mapping may be written to although its descriptor is closed. The device that stands there is another one
/// than that of the file on btrfs and overlays, so the path has to do.
fn mapped_in(process: &Path, lower: &Path) -> Option<PathBuf> {
    let maps = fs::read_to_string(process.join("maps")).ok()?;
    maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let rights = fields.nth(1)?;
        let is_written = rights.contains('w') && rights.ends_with('s');
        let path = &line[line.find('/')?..];
        let is_meant = is_written && !path.ends_with(" (deleted)");
        (is_meant && Path::new(path).starts_with(lower)).then(|| path.into())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn who_writes_is_found_and_who_reads_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log");
        let file = fs::File::create(&path).expect("a file");
        let device = file.metadata().expect("stat").dev();
        let reader = fs::File::open(&path).expect("opened");
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .stdin(reader.try_clone().expect("a copy"))
            .spawn()
            .expect("sleep");
        let none = find(device, dir.path());
        child.kill().and_then(|()| child.wait()).expect("killed");
        assert!(none.is_empty(), "it reads only");
        let mut child =
            std::process::Command::new("sleep").arg("60").stdout(file).spawn().expect("sleep");
        let found: Vec<_> = find(device, dir.path()).iter().map(Writer::name).collect();
        child.kill().and_then(|()| child.wait()).expect("killed");
        assert_eq!(found, [format!("log by sleep ({})", child.id())]);
    }
}
