//! File systems of this machine: at which path each has its root.

use std::borrow::BorrowMut;
use std::collections::BTreeMap;
use std::fs;

use aya::maps::{HashMap, MapData, MapError};
use hsci_abi::guard::{PREFIX_LEN, RootKey, RootPlace};
use hsci_abi::tables::NONE;
use hsci_engine::Tables;

use crate::Error;
use crate::sys::Plain;

const MOUNTS: &str = "/proc/self/mountinfo";

/// What hosts serve is of this type.
const SERVED: &[u8] = b"fuse.hsci";

/// For each device, as the kernel writes its number, where it lies for a policy.
pub(crate) fn places(tables: &Tables) -> Result<BTreeMap<u32, RootPlace>, Error> {
    let known = |(device, (root, _)): (u32, (Root, bool))| (device, root.place(tables));
    Ok(parse(&mounts()?).into_iter().map(known).collect())
}

/// The same, where what hosts serve is theirs to judge: there, no path is a rule's.
pub(crate) fn places_beside_hosts(tables: &Tables) -> Result<BTreeMap<u32, RootPlace>, Error> {
    let beside = |(device, (root, is_served)): (u32, (Root, bool))| {
        let place = root.place(tables);
        (device, if is_served { RootPlace { path: NONE, ..place } } else { place })
    };
    Ok(parse(&mounts()?).into_iter().map(beside).collect())
}

fn mounts() -> Result<Vec<u8>, Error> {
    fs::read(MOUNTS).map_err(|source| Error::File { path: MOUNTS.to_owned(), source })
}

/// Puts places in force for a policy, before its tables are.
pub(crate) fn put(
    map: &mut HashMap<impl BorrowMut<MapData>, Plain<RootKey>, Plain<RootPlace>>,
    places: &BTreeMap<u32, RootPlace>,
    generation: u32,
) -> Result<(), MapError> {
    places.iter().try_for_each(|(device, place)| {
        map.insert(Plain(RootKey { device: *device, generation }), Plain(*place), 0)
    })
}

/// Adds the places that a policy in force lacks: of file systems that were mounted later.
pub(crate) fn add(
    map: &mut HashMap<impl BorrowMut<MapData>, Plain<RootKey>, Plain<RootPlace>>,
    places: &BTreeMap<u32, RootPlace>,
    generation: u32,
) {
    const NO_EXIST: u64 = 1;
    for (device, place) in places {
        // One that is there already is none of these.
        let _ = map.insert(Plain(RootKey { device: *device, generation }), Plain(*place), NO_EXIST);
    }
}

/// Removes the places of all other policies, or of this one alone.
pub(crate) fn remove(
    map: &mut HashMap<impl BorrowMut<MapData>, Plain<RootKey>, Plain<RootPlace>>,
    is_stale: impl Fn(u32) -> bool,
) -> Result<(), MapError> {
    let keys: Vec<Plain<RootKey>> = map.keys().flatten().collect();
    let mut stale = keys.iter().filter(|key| is_stale(key.0.generation));
    stale.try_for_each(|key| map.remove(key))
}

/// The place of a whole file system.
pub(crate) fn whole(tables: &Tables, path: &[u8]) -> RootPlace {
    Root { path: path.to_vec(), prefix: Vec::new() }.place(tables)
}

/// What is mounted of a file system, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Root {
    path: Vec<u8>,
    /// Path of the mounted part within the file system; empty for all of it.
    prefix: Vec<u8>,
}

impl Root {
    fn place(&self, tables: &Tables) -> RootPlace {
        let mut prefix = [0; PREFIX_LEN];
        prefix[..self.prefix.len()].copy_from_slice(&self.prefix);
        let path = if self.prefix.is_empty() { tables.at(&self.path) } else { NONE };
        let (executable, prefix_len) = (tables.executable_at(&self.path), self.prefix.len() as u32);
        RootPlace { path, executable, prefix_len, reserved: 0, prefix }
    }
}

/// The first mount of each whole file system; of others the one with the shortest path. Bind mounts show the
/// same inodes, whose labels are those of the first mount. Says as well whether a host serves it.
fn parse(text: &[u8]) -> BTreeMap<u32, (Root, bool)> {
    let mut roots: BTreeMap<u32, (Root, bool)> = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ').skip(2);
        let (Some(device), Some(root), Some(path)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let Some(device) = number(device) else { continue };
        let is_served = fields.skip_while(|field| *field != b"-").nth(1) == Some(SERVED);
        let prefix = if root == b"/" { Vec::new() } else { unescaped(root) };
        let found = Root { path: unescaped(path), prefix };
        let is_better = |known: &Root| match (known.prefix.is_empty(), found.prefix.is_empty()) {
            (true, _) => false,
            (false, true) => true,
            (false, false) => found.path.len() < known.path.len(),
        };
        if found.prefix.len() <= PREFIX_LEN
            && roots.get(&device).is_none_or(|(known, _)| is_better(known))
        {
            roots.insert(device, (found, is_served));
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
    fn file_systems_are_found_by_their_first_mount() {
        let text = b"22 1 0:21 / /proc rw - proc proc rw\n\
                     30 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n\
                     31 30 8:1 / /again rw - ext4 /dev/sda1 rw\n\
                     32 30 8:2 /part /bind rw - ext4 /dev/sda2 rw\n\
                     33 30 259:3 / /with\\040blank rw - ext4 /dev/x rw\nnonsense\n\
                     34 30 0:50 / /served rw shared:7 - fuse.hsci /store rw\n";
        let (roots, served): (BTreeMap<_, _>, Vec<_>) = parse(text)
            .into_iter()
            .map(|(device, (root, is_served))| ((device, root), (device, is_served)))
            .unzip();
        assert_eq!(roots.len(), 5);
        let served = served.into_iter().filter(|(_, is_served)| *is_served);
        assert_eq!(served.map(|(device, _)| device).collect::<Vec<_>>(), [50]);
        let whole = |path: &[u8]| Root { path: path.to_vec(), prefix: Vec::new() };
        assert_eq!(roots[&(8 << 20 | 1)], whole(b"/"));
        assert_eq!(roots[&21], whole(b"/proc"));
        assert_eq!(roots[&(259 << 20 | 3)], whole(b"/with blank"));
        let part = Root { path: b"/bind".to_vec(), prefix: b"/part".to_vec() };
        assert_eq!(roots[&(8 << 20 | 2)], part);
    }
}
