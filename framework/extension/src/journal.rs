//! Atomic updates: these bytes of a lower file, or none of them, whatever ends the machine.
//!
//! An update goes to a journal in the private store and is synced there; then it is carried out. What a crash
//! leaves undone or half done is carried out again by [`Journal::open`], in order, so all changes of a file
//! that must be whole go through the journal, truncation to nothing as well: an older record would be carried out
//! after it. Records name the record before by its checksum: what is left of
//! an older one is never taken for the next.
//!
//! Where nothing may be written, changes are not carried out: [`Journal::file`] shows files as they would be.

mod pending;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::{Credentials, Environment, Errno, Error, FileId, LowerFile, Result, Store};
use pending::{Kept, Pending};

/// The journal is emptied when it is longer, after the files have been synced.
const MOST: u64 = 4 << 20;
/// Length of the rest and checksum.
const HEAD: usize = 8;

/// One change of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Bytes at an offset.
    Write(u64, &'a [u8]),
    /// The length.
    SetLen(u64),
}

/// A journal over a private store.
pub struct Journal(Way);

enum Way {
    Writing(Mutex<State>),
    /// What is not carried out, by file.
    Reading(HashMap<FileId, Arc<[Kept]>>),
}

struct State {
    file: Arc<dyn LowerFile>,
    end: u64,
    /// Checksum of the last record.
    chain: u32,
    /// Files that have changed since the journal was empty.
    changed: HashMap<FileId, Arc<dyn LowerFile>>,
    /// An update is half done, and will be whole when the journal is opened again.
    broken: bool,
}

impl Journal {
    /// Finishes what a crash has left in the journal of this name, if there is one and something may be changed: for
    /// [`Extension::recover`](crate::Extension::recover).
    pub fn recover(store: &dyn Store, name: &str, read_only: bool) -> Result<()> {
        if read_only {
            return Ok(());
        }
        match store.open(name, false) {
            Err(Error::Lower(Errno::NOENT)) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Self::redo(store, name).map(drop),
        }
    }

    /// Opens the journal of this name in the extension's store, and finishes what a crash has left unless
    /// [`Journal::recover`] has done so. To be called before any file is served that is changed through it.
    pub fn open(environment: &Environment, name: &str) -> Result<Self> {
        match environment.read_only {
            true => Self::read(&*environment.store, name),
            false => Self::redo(&*environment.store, name),
        }
    }

    /// The file with all changes that the journal knows of: as it is, but where nothing may be written. Extensions
    /// read it in place of the file that they are given.
    pub fn file(&self, file: &Arc<dyn LowerFile>) -> Result<Arc<dyn LowerFile>> {
        let Way::Reading(pending) = &self.0 else { return Ok(Arc::clone(file)) };
        if pending.is_empty() {
            return Ok(Arc::clone(file));
        }
        Ok(match pending.get(&file.id()?) {
            Some(changes) => {
                Arc::new(Pending { file: Arc::clone(file), changes: Arc::clone(changes) })
            }
            None => Arc::clone(file),
        })
    }

    /// Makes everything durable in the files, and empties the journal: at the end, so that what others do with the
    /// files until the next start is not undone by it.
    pub fn close(&self) -> Result<()> {
        match &self.0 {
            Way::Writing(state) if !state.lock().broken => state.lock().empty(),
            _ => Ok(()),
        }
    }

    fn read(store: &dyn Store, name: &str) -> Result<Self> {
        let mut pending: HashMap<FileId, Vec<Kept>> = HashMap::new();
        let bytes = match store.open(name, false) {
            Ok(file) => whole(&*file)?,
            Err(Error::Lower(Errno::NOENT)) => Vec::new(),
            Err(error) => return Err(error),
        };
        for body in records(&bytes) {
            pending.entry(body.id).or_default().extend(body.changes.iter().map(Kept::from));
        }
        let pending = pending.into_iter().map(|(id, changes)| (id, changes.into()));
        Ok(Self(Way::Reading(pending.collect())))
    }

    fn redo(store: &dyn Store, name: &str) -> Result<Self> {
        let file = store.open(name, true)?;
        store.sync_names()?;
        let mut state = State { file, end: 0, chain: 0, changed: HashMap::new(), broken: false };
        let bytes = whole(&*state.file)?;
        for body in records(&bytes) {
            state.redo(store, body)?;
        }
        if !bytes.is_empty() {
            state.empty()?;
        }
        Ok(Self(Way::Writing(Mutex::new(state))))
    }

    /// Carries out all changes of a file, or, if it fails, none of them; the space is taken on behalf of `by`.
    /// Durable when it returns.
    pub fn update(
        &self,
        file: &Arc<dyn LowerFile>,
        by: Credentials,
        changes: &[Change<'_>],
    ) -> Result<()> {
        let Way::Writing(state) = &self.0 else { return Err(Errno::ROFS.into()) };
        let id = file.id()?;
        let mut state = state.lock();
        if state.broken {
            return Err(Error::Broken("an update was cut short by an error".to_owned()));
        }
        if state.end > MOST {
            state.empty()?;
        }
        // A full disk is found out before anything changes.
        for change in changes {
            if let Change::Write(offset, data) = change {
                file.reserve(by, *offset, data.len() as u64)?;
            }
        }
        let (record, chain) = encode(state.chain, &id, changes);
        let end = state.end;
        let noted = state
            .file
            .write_at(Credentials::HOST, end, &record)
            .and_then(|()| state.file.sync(true));
        if let Err(error) = noted {
            // A record that is there after all would count.
            state.broken = state.file.set_len(end).and_then(|()| state.file.sync(true)).is_err();
            return Err(error);
        }
        (state.end, state.chain) = (end + record.len() as u64, chain);
        state.changed.entry(id).or_insert_with(|| Arc::clone(file));
        let done = changes.iter().try_for_each(|change| apply(&**file, by, change));
        state.broken = done.is_err();
        done
    }
}

impl State {
    fn redo(&mut self, store: &dyn Store, body: Body<'_>) -> Result<()> {
        let file = match store.reopen_one(&body.id) {
            Ok(file) => file,
            // It was removed since.
            Err(Error::Lower(Errno::STALE | Errno::NOENT)) => return Ok(()),
            Err(error) => return Err(error),
        };
        body.changes.iter().try_for_each(|change| apply(&*file, Credentials::HOST, change))?;
        self.changed.insert(body.id, file);
        Ok(())
    }

    /// Everything is in the files; the journal begins again.
    fn empty(&mut self) -> Result<()> {
        for file in self.changed.values() {
            file.sync(false)?;
        }
        self.file.set_len(0)?;
        self.file.sync(false)?;
        (self.end, self.chain) = (0, 0);
        self.changed.clear();
        Ok(())
    }
}

fn whole(file: &dyn LowerFile) -> Result<Vec<u8>> {
    let mut bytes = vec![0; file.len()? as usize];
    file.read_exact_at(0, &mut bytes)?;
    Ok(bytes)
}

fn apply(file: &dyn LowerFile, by: Credentials, change: &Change<'_>) -> Result<()> {
    match change {
        Change::Write(offset, data) => file.write_at(by, *offset, data),
        Change::SetLen(len) => file.set_len(*len),
    }
}

/// What a record says.
struct Body<'a> {
    id: FileId,
    changes: Vec<Change<'a>>,
}

/// A record, and its checksum, which the next one names.
fn encode(chain: u32, id: &FileId, changes: &[Change<'_>]) -> (Vec<u8>, u32) {
    let mut record = vec![0; HEAD];
    record.extend_from_slice(&chain.to_le_bytes());
    record.extend_from_slice(&(id.0.len() as u32).to_le_bytes());
    record.extend_from_slice(&id.0);
    for change in changes {
        let (kind, place, data) = match change {
            Change::Write(offset, data) => (0_u8, *offset, *data),
            Change::SetLen(len) => (1, *len, &[][..]),
        };
        record.push(kind);
        record.extend_from_slice(&place.to_le_bytes());
        record.extend_from_slice(&(data.len() as u32).to_le_bytes());
        record.extend_from_slice(data);
    }
    let (len, sum) = ((record.len() - HEAD) as u32, crc32fast::hash(&record[HEAD..]));
    record[..4].copy_from_slice(&len.to_le_bytes());
    record[4..HEAD].copy_from_slice(&sum.to_le_bytes());
    (record, sum)
}

/// The records at the start of a journal that are whole.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = Body<'_>> {
    let mut chain = 0;
    std::iter::from_fn(move || {
        let (len, sum) = (take_u32(&mut bytes)?, take_u32(&mut bytes)?);
        let mut body = take(&mut bytes, len as usize)?;
        if crc32fast::hash(body) != sum || take_u32(&mut body)? != chain {
            return None;
        }
        chain = sum;
        decode(body)
    })
}

fn decode(mut body: &[u8]) -> Option<Body<'_>> {
    let len = take_u32(&mut body)?;
    let id = FileId(take(&mut body, len as usize)?.to_vec());
    let mut changes = Vec::new();
    while !body.is_empty() {
        let kind = take(&mut body, 1)?[0];
        let place = u64::from_le_bytes(take(&mut body, 8)?.try_into().ok()?);
        let len = take_u32(&mut body)?;
        let data = take(&mut body, len as usize)?;
        changes.push(if kind == 0 { Change::Write(place, data) } else { Change::SetLen(place) });
    }
    Some(Body { id, changes })
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{self, Change as Lost, Fault, Forgetful, Kept, MemoryTree};
    use crate::{Call, FileSystem, Ino, Whence};

    const OLD: [u8; 64] = [b'o'; 64];
    const NEW: [u8; 64] = [b'n'; 64];

    struct Rig {
        tree: Arc<MemoryTree>,
        file: Arc<dyn LowerFile>,
        journal: Journal,
    }

    fn open(tree: &Arc<MemoryTree>) -> Result<Journal> {
        Journal::open(&testkit::environment(tree), "journal")
    }

    /// The bytes that a start shows which writes nothing, and nothing is written.
    fn shown(tree: &Arc<MemoryTree>) -> Vec<u8> {
        let file = tree.file_at("file").expect("the file");
        let before = bytes(&file);
        let journal = Journal::open(&testkit::environment(tree).read_only(), "journal");
        let journal = journal.expect("a journal");
        let file: Arc<dyn LowerFile> = file;
        let shown = whole(&*journal.file(&file).expect("the file")).expect("bytes");
        let refused = journal.update(&file, Credentials::HOST, &CHANGES);
        assert_eq!(refused, Err(Errno::ROFS.into()));
        assert_eq!(whole(&*file).expect("bytes"), before);
        shown
    }

    /// A file with old bytes that are durable.
    fn rig() -> Rig {
        let tree = MemoryTree::new();
        let call = Call::internal();
        let ino = tree.mknod(&call, Ino::ROOT, "file".as_ref(), 0o100_644, 0).expect("a file").ino;
        tree.write(&call, ino, 0, &OLD).expect("write");
        tree.fsync(&call, ino, false).expect("sync");
        let journal = open(&tree).expect("a journal");
        Rig { file: tree.file(ino).expect("the file"), tree, journal }
    }

    fn bytes(file: &Forgetful) -> Vec<u8> {
        let mut bytes = vec![0; file.len().expect("length") as usize];
        file.read_exact_at(0, &mut bytes).expect("bytes");
        bytes
    }

    const CHANGES: [Change<'static>; 2] =
        [Change::Write(0, &NEW), Change::SetLen(NEW.len() as u64)];

    #[test]
    fn an_update_is_whole_or_undone_at_every_cut() {
        // A fault at the n-th call stands for the end of the machine there: what was synced by then is kept, and of
        // the rest any part.
        let mut whole = 0;
        for calls in 0..12 {
            for torn in 0..=160 {
                let rig = rig();
                let fault = Fault { lasting: true, ..Fault::once(calls, Errno::IO) };
                rig.tree.faults().plan(Some(fault));
                let done = rig.journal.update(&rig.file, Credentials::HOST, &CHANGES);
                let mut keep = |_: &Lost| if torn == 160 { Kept::Whole } else { Kept::Torn(torn) };
                let after = rig.tree.crash(&mut keep);
                let shown = shown(&after);
                open(&after).expect("recovered");
                let found = bytes(&after.file_at("file").expect("the file"));
                assert!(found == OLD || found == NEW, "{calls} calls, {torn} bytes: {found:?}");
                assert_eq!(shown, found, "{calls} calls, {torn} bytes: without writing");
                assert!(done.is_err() || found == NEW, "{calls}: what is acknowledged is durable");
                whole += u32::from(found == NEW);
            }
        }
        assert!(whole > 161, "updates that were carried out: {whole}");
    }

    #[test]
    fn what_is_left_of_older_records_is_not_carried_out() {
        let rig = rig();
        for round in 0..3_u8 {
            let data = [round; 64];
            let change = [Change::Write(0, &data)];
            rig.journal.update(&rig.file, Credentials::HOST, &change).expect("an update");
        }
        // The second of three is damaged: the third must not count either.
        let store = rig.tree.store();
        let file = store.open("journal", false).expect("the journal");
        let third = file.len().expect("length") / 3;
        file.write_at(Credentials::HOST, third + 20, b"?").expect("damage");
        rig.file.write_at(Credentials::HOST, 0, &OLD).expect("write");
        open(&rig.tree).expect("recovered");
        let found = bytes(&rig.tree.file_at("file").expect("the file"));
        assert_eq!(found, [0; 64], "the first alone was carried out");
    }

    #[test]
    fn pieces_of_what_is_pending_are_those_of_the_whole() {
        let rig = rig();
        let changes = [
            Change::Write(10, &[b'a'; 30]),
            Change::SetLen(25),
            Change::Write(40, &[b'b'; 7]),
            Change::SetLen(100),
            Change::Write(90, &[b'c'; 20]),
        ];
        rig.journal.update(&rig.file, Credentials::HOST, &changes).expect("an update");
        let done = whole(&*rig.file).expect("bytes");
        rig.file.set_len(0).expect("as if it had not been carried out");
        rig.file.write_at(Credentials::HOST, 0, &OLD).expect("the old bytes");
        let reading = testkit::environment(&rig.tree).read_only();
        let journal = Journal::open(&reading, "journal").expect("a journal");
        let file = journal.file(&rig.file).expect("the file");
        assert_eq!(file.len(), Ok(done.len() as u64));
        for from in 0..=done.len() {
            for len in [0, 1, 3, 17, 64, 200] {
                let mut piece = vec![0xff; len];
                let read = file.read_at(from as u64, &mut piece).expect("a piece");
                assert_eq!(piece[..read], done[from..done.len().min(from + len)]);
            }
        }
        assert_eq!(file.seek(110, Whence::Data), Err(Errno::NXIO.into()));
        assert_eq!(file.set_len(1), Err(Errno::ROFS.into()));
    }

    #[test]
    fn a_closed_journal_undoes_nothing_of_what_others_write() {
        let rig = rig();
        rig.journal.update(&rig.file, Credentials::HOST, &CHANGES).expect("an update");
        rig.journal.close().expect("closed");
        rig.file.write_at(Credentials::HOST, 0, &OLD).expect("somebody's write");
        open(&rig.tree).expect("opened");
        assert_eq!(bytes(&rig.tree.file_at("file").expect("the file")), OLD);
    }

    #[test]
    fn a_full_disk_leaves_the_old_bytes() {
        let rig = rig();
        rig.tree.faults().plan(Some(Fault::once(0, Errno::NOSPC)));
        let refused = rig.journal.update(&rig.file, Credentials::HOST, &CHANGES);
        assert_eq!(refused, Err(Errno::NOSPC.into()));
        assert_eq!(bytes(&rig.tree.file_at("file").expect("the file")), OLD);
        rig.journal.update(&rig.file, Credentials::HOST, &CHANGES).expect("and goes on");
    }
}
