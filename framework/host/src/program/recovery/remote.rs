//! A store that another process has.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use hsci_extension::{
    Credentials, Errno, Error, FileId, Lifetime, LowerFile, Reopened, Result, Store, Times, Whence,
};
use parking_lot::Mutex;

use super::message::{Answer, Ask, Facts, FileAsk, MOST, MOST_WANTED, PIECE, Reply, Stamps};
use crate::passing::{parse, receive, send};
use crate::sys::process::exit_now;

/// The way to the keeper. Nothing is left to do when that is gone.
pub(super) struct Link {
    socket: OwnedFd,
    buffer: Mutex<Vec<u8>>,
}

type Answered = Result<(Answer, Vec<u8>)>;

impl Link {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: Mutex::new(vec![0; MOST]) }
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    pub(super) fn tell(&self, ask: &Ask) {
        if send(&self.socket, ask, &[], &[]).is_err() {
            exit_now(1);
        }
    }

    fn next(&self) -> Answered {
        let mut buffer = self.buffer.lock();
        let Ok((len @ 1.., _)) = receive(&self.socket, &mut buffer) else { exit_now(1) };
        let Some((reply, bytes)) = parse::<Reply>(&buffer[..len]) else { exit_now(1) };
        Ok((reply?, bytes.to_vec()))
    }

    pub(super) fn ask(&self, ask: &Ask, bytes: &[u8]) -> Answered {
        if send(&self.socket, ask, bytes, &[]).is_err() {
            exit_now(1);
        }
        self.next()
    }

    fn number(&self, ask: &Ask) -> Result<u64> {
        number(self.ask(ask, &[])?)
    }

    fn done(&self, ask: &Ask) -> Result<()> {
        self.ask(ask, &[]).map(drop)
    }
}

fn unexpected() -> Error {
    Error::Broken("another answer than was asked for".to_owned())
}

fn number((answer, _): (Answer, Vec<u8>)) -> Result<u64> {
    if let Answer::Number(number) = answer { Ok(number) } else { Err(unexpected()) }
}

pub(super) struct RemoteStore {
    link: Arc<Link>,
    epoch: u64,
}

impl RemoteStore {
    pub(super) fn new(link: Arc<Link>, epoch: u64) -> Self {
        Self { link, epoch }
    }

    fn file(&self, file: u64, facts: Option<Facts>) -> Arc<dyn LowerFile> {
        let known = Mutex::new(Known { facts, ..Known::default() });
        Arc::new(RemoteFile { link: Arc::clone(&self.link), file, known })
    }

    fn want(&self, ids: &[FileId]) -> Result<()> {
        let (mut lens, mut bytes) = (Vec::new(), Vec::new());
        for FileId(id) in ids {
            if lens.len() == MOST_WANTED || bytes.len() + id.len() > PIECE {
                self.link.ask(&Ask::Want { lens: std::mem::take(&mut lens) }, &bytes)?;
                bytes.clear();
            }
            lens.push(id.len() as u32);
            bytes.extend(id);
        }
        self.link.ask(&Ask::Want { lens }, &bytes).map(drop)
    }
}

impl Store for RemoteStore {
    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn LowerFile>> {
        let file = self.link.number(&Ask::Open { name: name.to_owned(), create })?;
        Ok(self.file(file, None))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn LowerFile>> {
        let file = self.link.number(&Ask::Create { name: name.to_owned() })?;
        Ok(self.file(file, None))
    }

    fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        loop {
            let (answer, bytes) = self.link.ask(&Ask::Names { from: names.len() }, &[])?;
            let text = String::from_utf8_lossy(&bytes);
            names.extend(text.split_terminator('\0').map(str::to_owned));
            if number((answer, Vec::new()))? == 0 {
                return Ok(names);
            }
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.link.done(&Ask::Rename { from: from.to_owned(), to: to.to_owned() })
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.link.done(&Ask::Remove { name: name.to_owned() })
    }

    fn sync_names(&self) -> Result<()> {
        self.link.done(&Ask::SyncNames)
    }

    fn sync_all(&self) -> Result<()> {
        self.link.done(&Ask::SyncAll)
    }

    fn free_space(&self) -> Result<u64> {
        self.link.number(&Ask::FreeSpace)
    }

    fn reopen(&self, ids: &[FileId], visit: &mut Reopened<'_>) {
        let mut answer = self.want(ids).and_then(|()| self.link.ask(&Ask::Reopen, &[]));
        loop {
            match answer {
                Ok((Answer::Found { place, file }, _)) => {
                    let file = file.map(|(file, facts)| self.file(file, facts));
                    visit(place, file.map_err(Error::from));
                    answer = self.link.ask(&Ask::Next, &[]);
                }
                Ok(_) => return,
                Err(error) => {
                    (0..ids.len()).for_each(|place| visit(place, Err(error.clone())));
                    return;
                }
            }
        }
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }
}

struct RemoteFile {
    link: Arc<Link>,
    file: u64,
    known: Mutex<Known>,
}

/// What was learnt of a file together with other things. Nobody changes it meanwhile but through here.
#[derive(Default)]
struct Known {
    facts: Option<Facts>,
    /// Bytes, and where they are.
    ahead: Option<(u64, Vec<u8>)>,
    /// Where data begins and ends.
    data: Range<u64>,
}

impl Drop for RemoteFile {
    fn drop(&mut self) {
        self.link.tell(&Ask::Close { file: self.file });
    }
}

impl RemoteFile {
    fn ask(&self, ask: FileAsk, bytes: &[u8]) -> Answered {
        self.link.ask(&Ask::File { file: self.file, ask }, bytes)
    }

    fn number(&self, ask: FileAsk) -> Result<u64> {
        number(self.ask(ask, &[])?)
    }

    fn flag(&self, ask: FileAsk) -> Result<bool> {
        match self.ask(ask, &[])? {
            (Answer::Flag(flag), _) => Ok(flag),
            _ => Err(unexpected()),
        }
    }

    /// Asks for what leaves the content as it is.
    fn done(&self, ask: FileAsk, bytes: &[u8]) -> Result<()> {
        self.ask(ask, bytes).map(drop)
    }

    /// Has something changed; what is known is what that leaves.
    fn change(&self, ask: FileAsk, bytes: &[u8]) -> Result<()> {
        let mut known = self.known.lock();
        *known = Known::default();
        if let (Answer::Facts(facts), _) = self.ask(ask, bytes)? {
            known.facts = facts;
        }
        Ok(())
    }

    fn facts(&self) -> Result<Facts> {
        let mut known = self.known.lock();
        if known.facts.is_none()
            && let (Answer::Facts(facts), _) = self.ask(FileAsk::Facts, &[])?
        {
            known.facts = facts;
        }
        known.facts.ok_or_else(unexpected)
    }

    fn seek_data(&self, offset: u64) -> Result<u64> {
        let mut known = self.known.lock();
        if known.data.contains(&offset) {
            return Ok(offset);
        }
        let (Answer::Extent(data, end), _) = self.ask(FileAsk::SeekData { offset }, &[])? else {
            return Err(unexpected());
        };
        known.data = data..end;
        Ok(data)
    }

    /// Reads a piece from what is there or comes with it.
    fn read_piece(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let ahead = &mut self.known.lock().ahead;
        let holds = |(at, bytes): &(u64, Vec<u8>)| {
            let from = offset.checked_sub(*at).and_then(|from| usize::try_from(from).ok())?;
            let is_whole = bytes.len() < PIECE || from + buffer.len() <= bytes.len();
            (from <= bytes.len() && is_whole).then_some(from)
        };
        let from = match ahead.as_ref().and_then(holds) {
            Some(from) => from,
            None => {
                let (_, bytes) = self.ask(FileAsk::Read { offset, len: PIECE }, &[])?;
                *ahead = Some((offset, bytes));
                0
            }
        };
        let bytes = ahead.as_ref().map_or(&[][..], |(_, bytes)| &bytes[from..]);
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }
}

impl LowerFile for RemoteFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        for piece in buffer.chunks_mut(PIECE) {
            let at = offset.checked_add(done as u64).ok_or(Errno::INVAL)?;
            let read = self.read_piece(at, piece)?;
            done += read;
            if read < piece.len() {
                break;
            }
        }
        Ok(done)
    }

    fn write_at(&self, by: Credentials, offset: u64, data: &[u8]) -> Result<()> {
        if by != Credentials::HOST {
            return Err(Error::Unsupported);
        }
        data.chunks(PIECE).zip((0..).step_by(PIECE)).try_for_each(|(piece, at): (_, u64)| {
            let offset = offset.checked_add(at).ok_or(Errno::FBIG)?;
            self.change(FileAsk::Write { offset }, piece)
        })
    }

    fn len(&self) -> Result<u64> {
        self.facts().map(|facts| facts.len)
    }

    fn blocks(&self) -> Result<u64> {
        self.facts().map(|facts| facts.blocks)
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.change(FileAsk::SetLen { len }, &[])
    }

    fn sync(&self, data_only: bool) -> Result<()> {
        self.done(FileAsk::Sync { data_only }, &[])
    }

    fn reserve(&self, _: Credentials, _: u64, _: u64) -> Result<()> {
        Err(Error::Unsupported)
    }

    fn punch(&self, offset: u64, len: u64) -> Result<()> {
        self.change(FileAsk::Punch { offset, len }, &[])
    }

    fn seek(&self, offset: u64, whence: Whence) -> Result<u64> {
        match whence {
            Whence::Data => self.seek_data(offset),
            Whence::Hole => self.number(FileAsk::SeekHole { offset }),
        }
    }

    fn times(&self) -> Result<Times> {
        self.facts()?.times.times().ok_or_else(unexpected)
    }

    fn set_times(&self, times: &Times) -> Result<()> {
        self.change(FileAsk::SetTimes(Stamps::from(times)), &[])
    }

    fn id(&self) -> Result<FileId> {
        self.ask(FileAsk::Id, &[]).map(|(_, bytes)| FileId(bytes))
    }

    fn notes(&self, about: u64) -> Vec<u8> {
        let mut notes = Vec::new();
        while let Ok((_, more)) = self.ask(FileAsk::Notes { about, from: notes.len() }, &[]) {
            notes.extend(&more);
            if more.len() < PIECE {
                break;
            }
        }
        notes
    }

    fn lifetime(&self) -> Lifetime {
        let Ok(Facts { lifetime: (machine, mount), .. }) = self.facts() else {
            return Lifetime::default();
        };
        Lifetime { machine, mount }
    }

    fn attribute(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let (answer, value) = self.ask(FileAsk::Attribute { name: name.to_owned() }, &[])?;
        Ok(matches!(answer, Answer::Done).then_some(value))
    }

    fn set_attribute(&self, name: &str, value: &[u8]) -> Result<()> {
        self.done(FileAsk::SetAttribute { name: name.to_owned() }, value)
    }

    fn remove_attribute(&self, name: &str) -> Result<()> {
        self.done(FileAsk::RemoveAttribute { name: name.to_owned() }, &[])
    }

    fn keep_privileges(&self, again: bool) -> Result<()> {
        self.done(FileAsk::KeepPrivileges { again }, &[])
    }

    fn restore_privileges(&self) {
        self.link.tell(&Ask::File { file: self.file, ask: FileAsk::RestorePrivileges });
    }

    fn drop_privileges(&self) -> Result<()> {
        self.done(FileAsk::DropPrivileges, &[])
    }

    fn is_fixed(&self) -> Result<bool> {
        self.flag(FileAsk::IsFixed)
    }

    fn is_open_elsewhere(&self) -> Result<bool> {
        self.flag(FileAsk::IsOpenElsewhere)
    }

    fn max_len(&self) -> u64 {
        self.number(FileAsk::MaxLen).unwrap_or(i64::MAX as u64)
    }
}
