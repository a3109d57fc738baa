//! What checks of stores have in common: visiting every file, and reading all of it.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{
    Attr, Call, Checked, Entry, Errno, Error, FileKind, FileSystem, Finding, Ino, RESERVED_NAME,
    Result, Severity,
};

/// Bytes that are read from a file at a time.
const PIECE: usize = 1 << 20;
/// Bytes of names that are read from a directory at a time.
const BUDGET: usize = 64 << 10;

/// A directory on the way, known until all below it is done.
struct Level {
    ino: Ino,
    path: PathBuf,
    names: std::vec::IntoIter<OsString>,
}

/// Is told a path, and the regular file there or why it cannot be reached.
pub type Visitor<'a> = dyn FnMut(&Path, Result<(Ino, Attr)>) + 'a;

/// Calls `visit` with the path and inode of each regular file, once for all its links, and with
/// what went wrong where something cannot be reached.
pub fn regular_files(layer: &dyn FileSystem, visit: &mut Visitor<'_>) {
    regular_files_below(layer, Ino::ROOT, visit);
}

/// The same below a directory, from which paths begin.
pub fn regular_files_below(layer: &dyn FileSystem, top: Ino, visit: &mut Visitor<'_>) {
    let mut linked = HashSet::new();
    let mut levels = Vec::new();
    match names(layer, top) {
        Ok(names) => levels.push(Level { ino: top, path: PathBuf::new(), names }),
        Err(error) => visit(Path::new("."), Err(error)),
    }
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.next() else {
            if level.ino != top {
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

/// Reads all files of a layer to their ends, and reports what cannot be read: the check of an extension that has no
/// better one. What a layer does not notice when it reads is not found.
pub fn by_reading(
    layer: &dyn FileSystem,
    report: &mut dyn FnMut(Finding),
    progress: &mut dyn FnMut(u64),
) -> Result<Checked> {
    let mut checked = Checked::default();
    let mut buffer = vec![0; PIECE];
    regular_files(layer, &mut |path, found| {
        let read = found.and_then(|(ino, attr)| {
            checked.files += 1;
            progress(attr.blocks * 512);
            read_all(layer, ino, attr.size, &mut buffer)
        });
        match read {
            Ok(bytes) => checked.unverified_bytes += bytes,
            Err(error) => {
                let text = match error {
                    Error::Damaged(what) => what,
                    other => other.to_string(),
                };
                report(Finding::new(Severity::Damage, path.to_string_lossy(), text));
            }
        }
    });
    Ok(checked)
}

/// Reads a file to its end, which must be where its length says.
fn read_all(layer: &dyn FileSystem, ino: Ino, len: u64, buffer: &mut [u8]) -> Result<u64> {
    let mut done = 0;
    loop {
        let read = layer.read(&Call::internal(), ino, done, buffer);
        let read = read.map_err(|error| error.at(done))?;
        done += read as u64;
        if read < buffer.len() {
            break;
        }
    }
    match done == len {
        true => Ok(done),
        false => Err(Error::Damaged(format!("{done} bytes can be read of {len}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Credentials;
    use crate::testkit::{Fault, MemoryTree};

    #[test]
    fn what_cannot_be_read_is_reported_and_the_rest_is_counted() {
        let tree: Arc<MemoryTree> = MemoryTree::new();
        let call = Call::internal();
        let dir = tree.mkdir(&call, Ino::ROOT, "dir".as_ref(), 0o755).expect("a directory").ino;
        for (name, len) in [("one", 3_u64), ("two", 2 << 20)] {
            let ino = tree.mknod(&call, dir, name.as_ref(), 0o100_644, 0).expect("a file").ino;
            let file = tree.file(ino).expect("the file");
            file.write_at(Credentials::HOST, len - 1, b"x").expect("written");
            tree.link(&call, ino, Ino::ROOT, format!("{name}-too").as_ref()).expect("a link");
        }
        let mut found = Vec::new();
        let checked = by_reading(&*tree, &mut |finding| found.push(finding), &mut |_| {});
        let sum = Checked { files: 2, verified_bytes: 0, unverified_bytes: (2 << 20) + 3 };
        assert_eq!((checked, found), (Ok(sum), Vec::new()));
        tree.faults().plan(Some(Fault { lasting: true, ..Fault::once(2, Errno::IO) }));
        let mut found = Vec::new();
        by_reading(&*tree, &mut |finding| found.push(finding), &mut |_| {}).expect("goes on");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].severity, Severity::Damage);
    }
}
