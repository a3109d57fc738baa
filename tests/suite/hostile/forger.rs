//! Journals with right checksums, made without the program.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

use hsci_extension::{Call, FileSystem as _, Ino};
use hsci_host::lower::LowerTree;
use hsci_tests::{Mount, Run};

/// An entry as its author wants it.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) handle: Vec<u8>,
    pub(crate) base: u64,
    pub(crate) len: u64,
    /// Place in the file, and length of the log; version 3 only.
    pub(crate) at: u64,
    pub(crate) log_len: u64,
}

/// The lasting name of a file, as a host would write it.
pub(crate) fn handle(path: &Path) -> Vec<u8> {
    let (parent, name) = (path.parent().expect("parent"), path.file_name().expect("name"));
    let tree = LowerTree::open(File::open(parent).expect("open").into()).expect("tree");
    let found = tree.lookup(&Call::internal(), Ino::ROOT, OsStr::new(name)).expect("lookup");
    tree.file(found.ino).expect("a file").id().expect("a name").0
}

/// A sound image, with content of the forger's choice.
pub(crate) fn image(dir: &Path) -> Vec<u8> {
    let mut mount = Mount::new(dir, "forger", "compressfs", "settle=10m");
    let content = "the forger's words\n".repeat(5000);
    std::fs::write(mount.path("file"), content).expect("write");
    Run::new("sync").ok();
    mount.settle();
    mount.unmount();
    std::fs::read(mount.lower().join("file")).expect("the image")
}

/// A journal of this version with images and entries, all checksums right.
pub(crate) fn journal(version: u32, epoch: u64, payload: &[u8], entries: &[Entry]) -> Vec<u8> {
    let mut record = Vec::new();
    if version > 1 {
        record.extend(epoch.to_le_bytes());
    }
    for entry in entries {
        record.extend((entry.handle.len() as u16).to_le_bytes());
        record.extend(&entry.handle);
        record.extend(entry.base.to_le_bytes());
        record.extend(entry.len.to_le_bytes());
        if version > 2 {
            record.extend(entry.at.to_le_bytes());
            record.extend(entry.log_len.to_le_bytes());
        }
        record.extend([0; 24]);
        if version > 1 {
            record.extend([0; 21]);
        }
    }
    let mut bytes = payload.to_vec();
    let offset = bytes.len() as u64;
    bytes.extend(&record);
    bytes.extend(footer(version, entries.len() as u32, offset, &record));
    bytes
}

/// The last bytes of a journal.
pub(crate) fn footer(version: u32, count: u32, offset: u64, record: &[u8]) -> Vec<u8> {
    let mut footer = b"HSCIjrnl".to_vec();
    footer.extend(version.to_le_bytes());
    footer.extend(count.to_le_bytes());
    footer.extend(offset.to_le_bytes());
    footer.extend((record.len() as u64).to_le_bytes());
    footer.extend(crc32c::crc32c(record).to_le_bytes());
    footer.extend(crc32c::crc32c(&footer).to_le_bytes());
    footer
}
