//! Where programs and maps live on without a process: files below a directory of ours in bpffs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData, MapError};
use aya::programs::links::FdLink;
use rustix::mount::{MountFlags, mount};

use crate::{Error, map_error};

/// The directory of the pins.
pub const PINS: &str = "/sys/fs/bpf/hsci/guard";
const FILE_SYSTEM: &str = "/sys/fs/bpf";
/// Links stand beside maps, under names that maps do not have.
pub(crate) const LINK: &str = "link-";

fn failed(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    move |source| Error::File { path: path.display().to_string(), source }
}

/// Makes sure of bpffs, and of the directory above the pins.
pub(crate) fn prepare() -> Result<(), Error> {
    let root = Path::new(FILE_SYSTEM);
    let kind = rustix::fs::statfs(root).map_err(|errno| failed(root)(errno.into()))?.f_type;
    // BPF_FS_MAGIC
    if kind as u32 != 0xCAFE_4A11 {
        mount("bpf", root, "bpf", MountFlags::NOSUID | MountFlags::NODEV, None)
            .map_err(|errno| failed(root)(errno.into()))?;
    }
    let above = Path::new(PINS).parent().unwrap_or(root);
    fs::create_dir_all(above).map_err(failed(above))
}

/// Where the programs of a larger policy stand until they are all there. The file system takes no dots.
pub(super) fn next() -> PathBuf {
    Path::new(PINS).with_file_name("next")
}

/// An empty directory. What a loader that died has left there is removed.
pub(crate) fn make(dir: &Path) -> Result<(), Error> {
    if dir.exists() {
        remove(dir)?;
    }
    fs::create_dir(dir).map_err(failed(dir))
}

/// Puts another directory in the place of the pins. Both are in force until the old is gone.
pub(super) fn replace(next: &Path) -> Result<(), Error> {
    remove(Path::new(PINS))?;
    // On a failure, the new programs are in force all the same, and the next load replaces them.
    fs::rename(next, PINS).map_err(failed(next))
}

/// Removes a directory of pins: links first, for maps without programs harm nobody.
pub(crate) fn remove(dir: &Path) -> Result<(), Error> {
    for is_link in [true, false] {
        for entry in fs::read_dir(dir).map_err(failed(dir))?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(LINK.as_bytes()) == is_link {
                fs::remove_file(entry.path()).map_err(failed(&entry.path()))?;
            }
        }
    }
    fs::remove_dir(dir).map_err(failed(dir))?;
    // The directory above goes with the last one in it.
    let _ = dir.parent().map(fs::remove_dir);
    Ok(())
}

/// Pins a map under its name; its number.
pub(crate) fn pin_map(dir: &Path, name: &str, map: &Map) -> Result<Option<u32>, Error> {
    let path = dir.join(name.replace('.', "_"));
    map.pin(&path).map_err(|error| failed(&path)(io::Error::other(error)))?;
    let info = MapData::from_pin(&path).and_then(|data| data.info());
    Ok(info.ok().map(|info| info.id()))
}

/// Pins a link under its program's name.
pub(crate) fn pin_link(dir: &Path, name: &str, link: FdLink) -> Result<(), Error> {
    let path = dir.join(format!("{LINK}{name}"));
    link.pin(&path).map_err(|error| failed(&path)(io::Error::other(error)))?;
    Ok(())
}

/// Names of the programs whose links are pinned, in order.
pub(super) fn links(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(dir).map_err(failed(dir))?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut links: Vec<String> =
        names.filter_map(|name| name.strip_prefix(LINK).map(str::to_owned)).collect();
    links.sort_unstable();
    Ok(links)
}

/// A pinned map.
pub(crate) fn map(dir: &Path, name: &'static str) -> Result<Map, Error> {
    MapData::from_pin(dir.join(name)).and_then(Map::from_map_data).map_err(map_error(name))
}

/// A pinned map, used as one of a kind.
pub(super) fn typed<M: TryFrom<Map, Error = MapError>>(
    dir: &Path,
    name: &'static str,
) -> Result<M, Error> {
    map(dir, name)?.try_into().map_err(map_error(name))
}
