//! The topmost layer: judges calls before an extension sees them. What each request asks for is in `requests`.

mod requests;

use std::ffi::OsStr;
use std::sync::Arc;

use hsci_abi::numbers::open_flags;
use hsci_extension::{
    Attr, Call, Errno, Error, FileKind, FileSystem, Ino, OpenFlags, Opened, Result, SetAttr,
    SetTime,
};
use hsci_language::{Facts, FileType, OpenFlag, Operation, Operations};
use smallvec::{SmallVec, smallvec};

use super::{InForce, Object, Policy};

/// Set in the flags of an open for executing.
const OPEN_TO_EXECUTE: u32 = 0o40;

/// Calls judged by the policy in force. Write-back is nobody's call, and is never judged.
pub(crate) struct Judged {
    below: Arc<dyn FileSystem>,
    policy: Arc<Policy>,
}

impl Judged {
    pub(crate) fn new(below: Arc<dyn FileSystem>, policy: Arc<Policy>) -> Self {
        Self { below, policy }
    }

    /// Judges a call on one object. Returns it as the layers below are to see it.
    fn pass<'a>(
        &'a self,
        call: &Call,
        operations: &[Operation],
        object: impl FnOnce(&InForce) -> Result<Option<Object<'a>>>,
    ) -> Result<Call> {
        let Some(policy) = self.about(call, Operations::of(operations)) else {
            return Ok(call.clone());
        };
        match object(&policy)? {
            Some(object) => self.judge(&policy, call, operations, &object),
            None => Ok(call.clone()),
        }
    }

    /// All operations must pass; the options are those of the last.
    fn judge(
        &self,
        policy: &InForce,
        call: &Call,
        operations: &[Operation],
        object: &Object<'_>,
    ) -> Result<Call> {
        let mut options = None;
        for operation in operations {
            options = self.policy.judge(policy, call, (*operation, true), object)?;
        }
        Ok(call.clone().with_options(options))
    }

    /// A call on an inode.
    fn on(&self, call: &Call, operations: &[Operation], ino: Ino) -> Result<Call> {
        self.pass(call, operations, |policy| self.object(policy, ino, 0))
    }

    /// A call on contents: those who opened a file were judged then, where opens are seen.
    fn on_content(&self, call: &Call, operation: Operation, ino: Ino) -> Result<Call> {
        self.on_right(call, (operation, !self.policy.sees_opens), ino)
    }

    /// A call that uses a right; it decides nothing if that was judged before.
    fn on_right(
        &self,
        call: &Call,
        (operation, decides): (Operation, bool),
        ino: Ino,
    ) -> Result<Call> {
        let Some(policy) = self.about(call, Operations::of(&[operation])) else {
            return Ok(call.clone());
        };
        let Some(object) = self.object(&policy, ino, 0)? else { return Ok(call.clone()) };
        let options = self.policy.judge(&policy, call, (operation, decides), &object)?;
        Ok(call.clone().with_options(options))
    }

    /// Judges a call that makes a file as long as `end`, if it is not yet.
    fn grow(&self, call: &Call, ino: Ino, end: u64) -> Result<()> {
        let policy = if call.anonymous { None } else { self.policy.judging(Operation::Grow) };
        let Some(policy) = policy else { return Ok(()) };
        let attr = self.below.getattr(&Call::internal(), ino)?;
        if end <= attr.size {
            return Ok(());
        }
        let facts = Facts { size: end, ..facts(&attr, 0) };
        let Some(object) = self.place(&policy, ino, None, ino.0, facts) else { return Ok(()) };
        self.policy.judge(&policy, call, (Operation::Grow, true), &object).map(|_| ())
    }

    /// The policy, if it speaks of any of the operations.
    fn about(&self, call: &Call, operations: Operations) -> Option<Arc<InForce>> {
        if call.anonymous { None } else { self.policy.about(operations) }
    }

    /// A call that removes a name.
    fn on_name(
        &self,
        call: &Call,
        operation: Operation,
        parent: Ino,
        name: &OsStr,
    ) -> Result<Call> {
        self.pass(call, &[operation], |policy| self.child(policy, parent, name))
    }

    /// A call that makes a name.
    fn on_new(
        &self,
        call: &Call,
        operation: Operation,
        (parent, name): (Ino, &OsStr),
        file_type: FileType,
    ) -> Result<Call> {
        let facts = Facts { file_type, ..Facts::of_owner(call.uid) };
        self.pass(call, &[operation], |policy| Ok(self.place(policy, parent, Some(name), 0, facts)))
    }

    /// True if no rule would miss reads and writes that the kernel carries out by itself.
    pub(crate) fn lets_kernel_serve(&self) -> bool {
        self.policy.ignores_content()
    }

    /// Judges opening a file that is about to be made, before it is: a denied open leaves nothing. Returns
    /// the call for [`Judged::open_made`].
    pub(crate) fn before_create(
        &self,
        call: &Call,
        parent: Ino,
        name: &OsStr,
        flags: OpenFlags,
    ) -> Result<Call> {
        let (operations, known) = opening(flags);
        let facts = Facts { flags: known, ..Facts::of_owner(call.uid) };
        self.pass(call, &operations, |policy| Ok(self.place(policy, parent, Some(name), 0, facts)))
    }

    /// Opens a file that was made for a call that was judged.
    pub(crate) fn open_made(&self, call: &Call, ino: Ino, flags: OpenFlags) -> Result<Opened> {
        self.below.open(call, ino, flags)
    }

    /// What lies at a name in a directory, or may soon; nothing if no path leads there.
    fn place<'a>(
        &'a self,
        policy: &InForce,
        parent: Ino,
        name: Option<&'a OsStr>,
        inode: u64,
        facts: Facts,
    ) -> Option<Object<'a>> {
        let at = (parent, name);
        let step = |state, bytes: &[u8]| policy.tables.step(state, bytes);
        let (tree, epoch) = (&*self.below, &self.policy.epoch);
        let state = policy.directories.state(tree, epoch, at, (policy.root, step)).ok()?;
        Some(Object { tree, at, state, facts, inode })
    }

    fn object(&self, policy: &InForce, ino: Ino, flags: u32) -> Result<Option<Object<'_>>> {
        let facts = match policy.uses.facts {
            true => facts(&self.below.getattr(&Call::internal(), ino)?, flags),
            false => Facts::of_owner(0),
        };
        Ok(self.place(policy, ino, None, ino.0, facts))
    }

    /// The object of a name that should be there. If it is not, the call itself says so.
    fn child<'a>(
        &'a self,
        policy: &InForce,
        parent: Ino,
        name: &'a OsStr,
    ) -> Result<Option<Object<'a>>> {
        let (facts, inode) = match self.below.lookup(&Call::internal(), parent, name) {
            Ok(entry) => {
                self.below.forget(entry.ino, 1);
                (facts(&entry.attr, 0), entry.ino.0)
            }
            Err(Error::Lower(Errno::NOENT)) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(self.place(policy, parent, Some(name), inode, facts))
    }

    /// A further name is judged at both paths, and must mean the same there.
    fn on_link(&self, call: &Call, ino: Ino, parent: Ino, name: &OsStr) -> Result<Call> {
        let policy = self.about(call, Operations::all());
        let Some(policy) = policy.filter(|policy| !policy.head.guarded) else {
            return Ok(call.clone());
        };
        let Some(old) = self.object(&policy, ino, 0)? else { return Ok(call.clone()) };
        let Some(new) = self.place(&policy, parent, Some(name), ino.0, old.facts) else {
            return Ok(call.clone());
        };
        self.judge(&policy, call, &[Operation::Link], &old)?;
        let call = self.judge(&policy, call, &[Operation::Link], &new)?;
        let class = |object: &Object<'_>| policy.tables.class(object.state);
        if class(&old) != class(&new) && !policy.head.permissive {
            return Err(Errno::XDEV.into());
        }
        Ok(call)
    }

    /// A new name is judged at both paths. A directory that leads to paths of other rules does not take
    /// what is there elsewhere.
    fn on_rename(
        &self,
        call: &Call,
        (from, old): (Ino, &OsStr),
        (to, new): (Ino, &OsStr),
    ) -> Result<Call> {
        let policy = self.about(call, Operations::all());
        let Some(policy) = policy.filter(|policy| !policy.head.guarded) else {
            return Ok(call.clone());
        };
        let Some(source) = self.child(&policy, from, old)? else { return Ok(call.clone()) };
        let Some(target) = self.place(&policy, to, Some(new), 0, source.facts) else {
            return Ok(call.clone());
        };
        self.judge(&policy, call, &[Operation::Rename], &source)?;
        let call = self.judge(&policy, call, &[Operation::Rename], &target)?;
        let is_directory = source.facts.file_type == FileType::Directory;
        let may_move = policy.tables.may_move(source.state, target.state);
        if is_directory && !may_move && !policy.head.permissive {
            return Err(Errno::XDEV.into());
        }
        Ok(call)
    }
}

fn facts(attr: &Attr, flags: u32) -> Facts {
    let file_type = match attr.kind {
        FileKind::Regular => FileType::Regular,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::Fifo,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    };
    let mode = attr.mode & 0o7777;
    Facts { flags, file_type, size: attr.size, mode, ..Facts::of_owner(attr.uid) }
}

/// What is made by `mknod`, by the type in its mode.
fn made(mode: u32) -> (Operation, FileType) {
    match mode & 0o170_000 {
        0o010_000 => (Operation::Mknod, FileType::Fifo),
        0o140_000 => (Operation::Mknod, FileType::Socket),
        0o020_000 => (Operation::Mknod, FileType::CharDevice),
        0o060_000 => (Operation::Mknod, FileType::BlockDevice),
        _ => (Operation::CreateFile, FileType::Regular),
    }
}

/// The operations that one request is.
type Asked = SmallVec<[Operation; 4]>;

/// What a descriptor may do that is opened so, and the flags as rules know them.
fn opening(flags: OpenFlags) -> (Asked, u32) {
    if flags.bits() & OPEN_TO_EXECUTE != 0 {
        return (smallvec![Operation::Open, Operation::Exec], 1);
    }
    let (reads, writes) = (flags.reads(), flags.writes());
    let bit = |flag: OpenFlag| 1_u32 << flag.number();
    // Of the access mode, tables have bits of their own.
    let mut bits = open_flags(flags.bits()).unwrap_or_default();
    let mut operations: Asked = smallvec![Operation::Open];
    if reads {
        bits |= bit(OpenFlag::Read);
        operations.push(Operation::ReadData);
    }
    if writes {
        bits |= bit(OpenFlag::Write);
        operations.push(Operation::WriteData);
    }
    (operations, bits)
}

/// The operations that a change of attributes is.
fn changing(changes: &SetAttr) -> Asked {
    let asked = |time: &Option<SetTime>| time.is_some();
    let times = changes.size.is_none() && (asked(&changes.atime) || asked(&changes.mtime));
    let known = [
        (changes.mode.is_some(), Operation::Chmod),
        (changes.uid.is_some() || changes.gid.is_some(), Operation::Chown),
        (times, Operation::Utimens),
        (changes.size.is_some(), Operation::Truncate),
    ];
    known.iter().filter(|(is_asked, _)| *is_asked).map(|(_, operation)| *operation).collect()
}
