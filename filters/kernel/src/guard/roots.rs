//! File systems of this machine: at which path each has its root.

use std::collections::BTreeMap;
use std::fs;

use hsci_engine::Tables;

use crate::Error;

const MOUNTS: &str = "/proc/self/mountinfo";

/// For each device, as the kernel writes its number, the state after the path of its root.
pub(super) fn states(tables: &Tables) -> Result<BTreeMap<u32, u32>, Error> {
    let text =
        fs::read(MOUNTS).map_err(|source| Error::File { path: MOUNTS.to_owned(), source })?;
    Ok(parse(&text).into_iter().map(|(device, path)| (device, tables.at(&path))).collect())
}

/// The first mount of each whole file system. Bind mounts show the same inodes, whose labels are
/// those of the first mount.
fn parse(text: &[u8]) -> BTreeMap<u32, Vec<u8>> {
    let mut roots = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ').skip(2);
        let (Some(device), Some(root), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if root == b"/"
            && let Some(device) = number(device)
        {
            roots.entry(device).or_insert_with(|| unescaped(path));
        }
    }
    roots
}

/// `8:1` as the kernel keeps it.
fn number(text: &[u8]) -> Option<u32> {
    let (major, minor) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some(major.parse::<u32>().ok()? << 20 | minor.parse::<u32>().ok()?)
}

/// Blanks and their like stand as `\040`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let octal = tail.get(..3).filter(|_| *first == b'\\');
        let value = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match value.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_file_systems_are_found_by_their_first_mount() {
        let text = b"22 1 0:21 / /proc rw - proc proc rw\n\
                     30 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                     31 30 8:1 / /again rw - ext4 /dev/sda1 rw\n\
                     32 30 8:2 /part /bind rw - ext4 /dev/sda2 rw\n\
                     33 30 259:3 / /with\\040blank rw - ext4 /dev/x rw\nnonsense\n";
        let roots = parse(text);
        assert_eq!(roots.len(), 3);
        assert_eq!(roots[&(8 << 20 | 1)], b"/");
        assert_eq!(roots[&21], b"/proc");
        assert_eq!(roots[&(259 << 20 | 3)], b"/with blank");
    }
}
