//! Listing a directory together with the attributes of what is in it.

use std::time::{Duration, SystemTime};

use fuser::{Generation, INodeNo, ReplyDirectoryPlus, Request};
use hsci_extension::{FileKind, FileSystem as _, Ino, Result};

use super::adapter::Adapter;
use super::ahead::Part;
use super::convert::{call, file_attr, file_type};
use crate::lower::Listing;

/// Bytes of names asked for at a time: about what fits the kernel's buffer with attributes beside
/// each name.
const BUDGET: usize = 8 << 10;

impl Adapter {
    /// Adds entries with their attributes. Every name added but `.` and `..` counts as a lookup.
    pub(super) fn list_with_attributes(
        &self,
        request: &Request,
        directory: Ino,
        cookie: u64,
        reply: &mut ReplyDirectoryPlus,
    ) -> Result<()> {
        let call = call(request);
        let parent = self.tree.directory_of(directory);
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        let _listing = Listing::begin();
        let names = self.top.readdir(&call, directory, cookie, BUDGET)?;
        self.tree.listed(directory, cookie == 0, names.len());
        if cookie == 0 {
            self.outdated(parent);
        }
        for name in names {
            let dots = name.name == "." || name.name == "..";
            let found =
                if dots { None } else { self.top.lookup(&call, directory, &name.name).ok() };
            let (attr, generation, ttl) = match &found {
                Some(entry) => {
                    match entry.attr.kind {
                        FileKind::Regular if entry.attr.size > 0 => files.push(entry.ino),
                        FileKind::Directory => directories.push(entry.ino),
                        _ => {}
                    }
                    let attr = file_attr(INodeNo(entry.ino.0), &entry.attr);
                    (attr, Generation(entry.generation), self.name_ttl(entry.ttl))
                }
                // The kernel takes nothing but the name from `.` and `..`. What cannot be looked
                // up is listed all the same, good for no time: its user gets the error.
                None => {
                    let kind = name.kind.map_or(fuser::FileType::RegularFile, file_type);
                    let attr = fuser::FileAttr { ino: INodeNo(name.ino), kind, ..NO_ATTR };
                    (attr, Generation(0), Duration::ZERO)
                }
            };
            // Before it is known whether the name fits: too many lookups are harmless.
            if let Some(entry) = &found {
                self.tell(request, entry.ino);
            }
            if reply.add(attr.ino, name.next, &name.name, &ttl, &attr, generation) {
                if let Some(entry) = found {
                    self.tree.forgotten(entry.ino, 1);
                    let _ = self.top.forget(entry.ino, 1);
                }
                break;
            }
        }
        let part = Part {
            directory,
            parent,
            is_first: cookie == 0,
            files: &files,
            directories: &directories,
        };
        self.ahead.listed(&part, request.pid());
        Ok(())
    }

    /// After an answer to a read from the start of a file, which outdates its time of access.
    pub(super) fn started_reading(&self, request: &Request, file: Ino) {
        let Some(directory) = self.tree.directory_of(file) else { return };
        self.ahead.read(directory, file, request.pid());
        self.outdated(Some(directory));
    }

    /// The kernel takes the time of access of something in a directory for outdated from now on.
    fn outdated(&self, directory: Option<Ino>) {
        if let Some(directory) = directory
            && self.tree.outdates_listing(directory)
            && let Some(notifier) = self.notifier.get()
        {
            // Not by the thread for notices: of a directory the kernel holds no lock that this waits for while
            // it waits for an answer. It fails only if the kernel knows the directory no more.
            let _ = notifier.inval_inode(INodeNo(directory.0), 0, 0);
        }
    }
}

/// The attributes that come with no inode.
pub(super) const NO_ATTR: fuser::FileAttr = fuser::FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: SystemTime::UNIX_EPOCH,
    mtime: SystemTime::UNIX_EPOCH,
    ctime: SystemTime::UNIX_EPOCH,
    crtime: SystemTime::UNIX_EPOCH,
    kind: fuser::FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 0,
    flags: 0,
};
