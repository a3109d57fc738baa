//! A server of a user's own FUSE mount, which lies: `hsci-lying-server POINT LINK JOURNAL [any-case]`.
//!
//! What it shows looks like a store with a policy and links, all of root's. LINK is where its links lead, JOURNAL
//! a file whose content it shows as a journal. It prints a line for each question. With `any-case` it finds names in any.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, ReplyOpen,
    Request, SessionACL,
};

/// Nothing is remembered.
const NOW: Duration = Duration::ZERO;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [point, link, journal, rest @ ..] = arguments.as_slice() else {
        panic!("POINT LINK JOURNAL [any-case]")
    };
    let journal = std::fs::read(journal)?;
    let program = std::fs::read("/bin/bash")?;
    let any_case = rest == ["any-case"];
    let server = Liar { link: link.into(), journal, program, any_case, nodes: Mutex::default() };
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("liar".to_owned())];
    config.acl = SessionACL::All;
    fuser::mount(server, point, &config)
}

struct Liar {
    link: PathBuf,
    journal: Vec<u8>,
    program: Vec<u8>,
    any_case: bool,
    /// Inodes by their paths.
    nodes: Mutex<HashMap<u64, PathBuf>>,
}

const POLICY: &[u8] = b"deny open \"/nowhere/**\" unless user root\n";
const STORE: &[u8] = b"{\"extension\":\"compressfs\",\"format\":1}";

impl Liar {
    fn path(&self, ino: INodeNo) -> PathBuf {
        self.nodes.lock().expect("nobody panics").get(&ino.0).cloned().unwrap_or_default()
    }

    fn content(&self, path: &Path) -> &[u8] {
        match path.file_name().and_then(OsStr::to_str).unwrap_or_default() {
            "store" => STORE,
            "journal-1-0" => &self.journal,
            "small.policy" => POLICY,
            "program" => &self.program,
            _ => b"text",
        }
    }

    fn attr(&self, ino: u64, path: &Path) -> Option<FileAttr> {
        let kind = kind(path)?;
        let is_private = path.components().any(|part| part.as_os_str() == ".hsci");
        let is_run = kind == FileType::Directory || path.ends_with("program");
        let perm = if is_run { 0o755 } else { 0o644 };
        Some(FileAttr {
            ino: INodeNo(ino),
            size: self.content(path).len() as u64,
            blocks: 8,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: if is_private { perm & 0o700 } else { perm },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        })
    }
}

/// What a path is; names that are not known do not exist.
fn kind(path: &Path) -> Option<FileType> {
    let Some(name) = path.file_name() else { return Some(FileType::Directory) };
    Some(match name.to_str().unwrap_or_default() {
        "mail" | ".hsci" | "compressfs" | "policies" => FileType::Directory,
        "link" => FileType::Symlink,
        "store" | "lock" | "journal-1-0" | "small.policy" | "text" | "program" => {
            FileType::RegularFile
        }
        _ => return None,
    })
}

fn asked(what: &str) {
    println!("{what}");
}

impl Filesystem for Liar {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        asked("lookup");
        let folded = name.to_ascii_lowercase();
        let path = self.path(parent).join(if self.any_case { &folded } else { name });
        let mut nodes = self.nodes.lock().expect("nobody panics");
        let known = nodes.iter().find(|(_, there)| **there == path).map(|(ino, _)| *ino);
        let ino = known.unwrap_or(2 + nodes.len() as u64);
        nodes.insert(ino, path.clone());
        drop(nodes);
        match self.attr(ino, &path) {
            Some(attr) => reply.entry(&NOW, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        asked("getattr");
        match self.attr(ino.0, &self.path(ino)) {
            Some(attr) => reply.attr(&NOW, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn readlink(&self, _: &Request, _: INodeNo, reply: ReplyData) {
        asked("readlink");
        reply.data(self.link.as_os_str().as_bytes());
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        asked("open");
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        asked("read");
        let path = self.path(ino);
        let content = self.content(&path);
        let from = (offset as usize).min(content.len());
        let to = (from + size as usize).min(content.len());
        reply.data(&content[from..to]);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        asked("opendir");
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        asked("readdir");
        let path = self.path(ino);
        let names: &[&str] = match path.file_name().and_then(OsStr::to_str) {
            None => &["mail", ".hsci", "link", "small.policy", "text", "policies"],
            Some(".hsci") => &["store", "compressfs", "lock"],
            Some("compressfs") => &["journal-1-0"],
            Some("policies") => &["small.policy"],
            Some(_) => &[],
        };
        for (number, name) in names.iter().enumerate().skip(offset as usize) {
            let kind = kind(name.as_ref()).unwrap_or(FileType::RegularFile);
            if reply.add(INodeNo(0xFFFF + number as u64), number as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
