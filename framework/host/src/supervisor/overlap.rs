//! Stores within stores: two hosts would change the same files.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use hsci_extension::protection;
use rustix::process::geteuid;

use crate::failure::{Exit, Failure};
use crate::mounts::{self, Device, Line, Mounted};
use crate::place::Place;

/// Where a directory is on its file system, whichever mount or bind mount leads to it.
#[derive(Debug, PartialEq, Eq)]
struct Position {
    device: Device,
    path: PathBuf,
}

/// Fails if a lower directory lies in one that is served, or the other way round.
pub(super) fn refuse(lower: &Place) -> Result<(), Failure> {
    if !protection::stands("overlap") {
        return Ok(());
    }
    let lines = mounts::lines()?;
    let id = mounts::mount_id(lower.as_fd());
    let Some(line) = lines.iter().find(|line| Some(line.id) == id) else { return Ok(()) };
    let Some(own) = position(line, lower.path()) else { return Ok(()) };
    let trusted = [0, geteuid().as_raw()];
    // Any user can make the table say anything of a mount of theirs.
    let served = mounts::all()?.into_iter().filter(|mounted| trusted.contains(&mounted.user));
    for other in served {
        let Some(there) = position_of(&other, &lines) else { continue };
        let nested = own.path.starts_with(&there.path) || there.path.starts_with(&own.path);
        if own.device == there.device && own.path != there.path && nested {
            let text = format!(
                "{}: overlaps with {}, which is served at {}; unmount that first",
                lower.path().display(),
                other.lower.display(),
                other.dir.display()
            );
            return Err(Failure::new(Exit::InUse, text));
        }
    }
    Ok(())
}

/// That of the lower directory of a mount, which may lie below the mount itself.
fn position_of(mounted: &Mounted, lines: &[Line]) -> Option<Position> {
    let ways = lines.iter().filter(|line| line.id != mounted.id);
    let ways = ways.filter(|line| mounted.lower.starts_with(&line.dir));
    // The last of those that are equally close is on top.
    let closest = ways.max_by_key(|line| line.dir.components().count())?;
    position(closest, &mounted.lower)
}

fn position(line: &Line, path: &Path) -> Option<Position> {
    let below = path.strip_prefix(&line.dir).ok()?;
    Some(Position { device: line.device, path: line.root.join(below) })
}
