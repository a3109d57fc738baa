//! Visits every regular file of a layer once.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hsci_extension::{
    Attr, Call, Entry, Errno, Error, FileKind, FileSystem, Ino, RESERVED_NAME, Result,
};

/// Bytes of names that are read from a directory at a time.
const BUDGET: usize = 64 << 10;

/// A directory on the way, known until all below it is done.
struct Level {
    ino: Ino,
    path: PathBuf,
    names: std::vec::IntoIter<OsString>,
}

/// Is told a path, and the regular file there or why it cannot be reached.
pub(super) type Visitor<'a> = dyn FnMut(&Path, Result<(Ino, Attr)>) + 'a;

/// Calls `visit` with the path and inode of each regular file, once for all its links, and with
/// what went wrong where something cannot be reached.
pub(super) fn regular_files(layer: &dyn FileSystem, visit: &mut Visitor<'_>) {
    let mut linked = HashSet::new();
    let mut levels = Vec::new();
    match names(layer, Ino::ROOT) {
        Ok(names) => levels.push(Level { ino: Ino::ROOT, path: PathBuf::new(), names }),
        Err(error) => visit(Path::new("."), Err(error)),
    }
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.next() else {
            if level.ino != Ino::ROOT {
                layer.forget(level.ino, 1);
            }
            levels.pop();
            continue;
        };
        let path = level.path.join(&name);
        let Entry { ino, attr, .. } = match layer.lookup(&Call::internal(), level.ino, &name) {
            Ok(entry) => entry,
            // Another file system is mounted there, which is no part of the store.
            Err(Error::Lower(Errno::XDEV)) => continue,
            Err(error) => {
                visit(&path, Err(error));
                continue;
            }
        };
        if attr.kind == FileKind::Directory {
            match names(layer, ino) {
                Ok(names) => {
                    levels.push(Level { ino, path, names });
                    continue;
                }
                Err(error) => visit(&path, Err(error)),
            }
        } else if attr.kind == FileKind::Regular && (attr.nlink < 2 || linked.insert(ino)) {
            visit(&path, Ok((ino, attr)));
        }
        layer.forget(ino, 1);
    }
}

/// All names in a directory that are visible through a mount.
fn names(layer: &dyn FileSystem, ino: Ino) -> Result<std::vec::IntoIter<OsString>, Error> {
    let mut names = Vec::new();
    let mut cookie = 0;
    loop {
        let entries = layer.readdir(&Call::internal(), ino, cookie, BUDGET)?;
        let Some(last) = entries.last() else {
            break;
        };
        cookie = last.next;
        names.extend(entries.into_iter().map(|entry| entry.name));
    }
    names.retain(|name| name != "." && name != ".." && (ino != Ino::ROOT || name != RESERVED_NAME));
    Ok(names.into_iter())
}
