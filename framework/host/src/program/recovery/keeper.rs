//! The side that has the store, and parses nothing of it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use hsci_extension::{Credentials, Errno, Error, FileId, LowerFile, Result, Store, Whence};

use super::message::{Answer, Ask, Facts, Failed, FileAsk, MOST, PIECE, Reply};
use crate::passing::{parse, receive, send};

/// Files that may be open at a time, that may be wanted together, and bytes that may be said.
const MOST_OPEN: usize = 1 << 14;
const MOST_WANTED: usize = 1 << 20;
const MOST_SAID: usize = 256 << 20;

pub(super) struct Keeper<'a> {
    socket: &'a OwnedFd,
    store: &'a Arc<dyn Store>,
    read_only: bool,
    files: HashMap<u64, Arc<dyn LowerFile>>,
    next: u64,
    names: Vec<String>,
    wanted: Vec<FileId>,
    /// One of those that were wanted is being visited.
    visits: bool,
    said: Vec<u8>,
    buffer: Vec<u8>,
}

/// What follows a question.
enum Step {
    Answered,
    /// The next of those that are wanted.
    Next,
    Done(Result<(), Failed>),
}

type Io<T> = rustix::io::Result<T>;

impl<'a> Keeper<'a> {
    pub(super) fn new(socket: &'a OwnedFd, store: &'a Arc<dyn Store>, read_only: bool) -> Self {
        let (files, wanted, buffer) = (HashMap::new(), Vec::new(), vec![0; MOST]);
        let (names, said) = (Vec::new(), Vec::new());
        let visits = false;
        Self { socket, store, read_only, files, next: 0, names, wanted, visits, said, buffer }
    }

    /// Answers until all is done; returns what was said. The outer error is that nobody asks any more.
    pub(super) fn serve(mut self) -> Io<Result<Vec<u8>>> {
        loop {
            match self.step()? {
                Step::Answered => {}
                Step::Next => return Err(rustix::io::Errno::PROTO),
                Step::Done(outcome) => {
                    let said = std::mem::take(&mut self.said);
                    return Ok(outcome.map(|()| said).map_err(Error::from));
                }
            }
        }
    }

    fn reply(&self, reply: &Reply, bytes: &[u8]) -> Io<()> {
        send(self.socket, reply, bytes, &[])
    }

    fn step(&mut self) -> Io<Step> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = receive(self.socket, &mut buffer);
        let len = match received? {
            (0, _) => return Err(rustix::io::Errno::PIPE),
            (len, _) => len,
        };
        let (ask, bytes) = parse::<Ask>(&buffer[..len]).ok_or(rustix::io::Errno::PROTO)?;
        let step = match ask {
            Ask::Next => Step::Next,
            Ask::Done(outcome) => Step::Done(outcome),
            Ask::Close { file } => {
                self.files.remove(&file);
                Step::Answered
            }
            ask @ Ask::File { ask: FileAsk::RestorePrivileges, .. } => {
                let _ = self.answer(ask, bytes);
                Step::Answered
            }
            Ask::Reopen if self.visits => return Err(rustix::io::Errno::PROTO),
            Ask::Reopen => {
                self.buffer = buffer;
                self.reopen()?;
                return Ok(Step::Answered);
            }
            ask => {
                let (reply, bytes) = match self.answer(ask, bytes) {
                    Ok((answer, bytes)) => (Ok(answer), bytes),
                    Err(error) => (Err(Failed::from(&error)), Vec::new()),
                };
                self.reply(&reply, &bytes)?;
                Step::Answered
            }
        };
        self.buffer = buffer;
        Ok(step)
    }

    /// Finds what is wanted, and answers what is asked of each before the next one.
    fn reopen(&mut self) -> Io<()> {
        let (wanted, store) = (std::mem::take(&mut self.wanted), Arc::clone(self.store));
        let mut outcome = Ok(());
        self.visits = true;
        store.reopen(&wanted, &mut |place, file| {
            if outcome.is_ok() {
                outcome = self.visit(place, file);
            }
        });
        self.visits = false;
        outcome?;
        self.reply(&Ok(Answer::Nothing), &[])
    }

    fn visit(&mut self, place: usize, file: Result<Arc<dyn LowerFile>>) -> Io<()> {
        let keep = |file: Arc<dyn LowerFile>| {
            let facts = Facts::of(&*file).ok();
            Ok((self.keep(file)?, facts))
        };
        let file = file.and_then(keep).map_err(|error| Failed::from(&error));
        self.reply(&Ok(Answer::Found { place, file }), &[])?;
        loop {
            match self.step()? {
                Step::Answered => {}
                Step::Next => return Ok(()),
                Step::Done(_) => return Err(rustix::io::Errno::PROTO),
            }
        }
    }

    fn keep(&mut self, file: Arc<dyn LowerFile>) -> Result<u64> {
        if self.files.len() >= MOST_OPEN {
            return Err(Errno::MFILE.into());
        }
        self.next += 1;
        self.files.insert(self.next, file);
        Ok(self.next)
    }

    fn answer(&mut self, ask: Ask, bytes: &[u8]) -> Result<(Answer, Vec<u8>)> {
        let store = Arc::clone(self.store);
        let done = |()| (Answer::Done, Vec::new());
        let number = |number| (Answer::Number(number), Vec::new());
        match ask {
            Ask::Open { name, create } => {
                self.may_change(create)?;
                self.keep(store.open(plain(&name)?, create)?).map(number)
            }
            Ask::Create { name } => {
                self.may_change(true)?;
                self.keep(store.create(plain(&name)?)?).map(number)
            }
            Ask::Names { from } => self.list(from),
            Ask::Rename { from, to } => {
                self.may_change(true)?;
                store.rename(plain(&from)?, plain(&to)?).map(done)
            }
            Ask::Remove { name } => {
                self.may_change(true)?;
                store.remove(plain(&name)?).map(done)
            }
            Ask::SyncNames => store.sync_names().map(done),
            Ask::SyncAll => store.sync_all().map(done),
            Ask::FreeSpace => store.free_space().map(number),
            Ask::Want { lens } => self.want(&lens, bytes).map(done),
            Ask::Say if self.said.len() + bytes.len() > MOST_SAID => Err(Errno::FBIG.into()),
            Ask::Say => {
                self.said.extend(bytes);
                Ok(done(()))
            }
            Ask::File { file, ask } => {
                let (file, changes) = (self.files.get(&file).ok_or(Errno::BADF)?, ask.changes());
                self.may_change(changes)?;
                let answer = ask.carry_out(&**file, bytes)?;
                Ok(if changes {
                    (Answer::Facts(Facts::of(&**file).ok()), Vec::new())
                } else {
                    answer
                })
            }
            Ask::Reopen | Ask::Next | Ask::Close { .. } | Ask::Done(_) => Err(Error::Unsupported),
        }
    }

    fn may_change(&self, changes: bool) -> Result<()> {
        match changes && self.read_only {
            true => Err(Errno::ROFS.into()),
            false => Ok(()),
        }
    }

    fn list(&mut self, from: usize) -> Result<(Answer, Vec<u8>)> {
        if from == 0 {
            self.names = self.store.names()?;
        }
        let (mut bytes, mut count) = (Vec::new(), 0);
        for name in self.names.get(from..).unwrap_or_default() {
            if bytes.len() + name.len() >= PIECE {
                break;
            }
            bytes.extend(name.as_bytes());
            bytes.push(0);
            count += 1;
        }
        Ok((Answer::Number(count), bytes))
    }

    fn want(&mut self, lens: &[u32], mut bytes: &[u8]) -> Result<()> {
        if self.wanted.len() + lens.len() > MOST_WANTED {
            return Err(Errno::FBIG.into());
        }
        for len in lens {
            let (id, rest) = bytes.split_at_checked(*len as usize).ok_or(Errno::INVAL)?;
            self.wanted.push(FileId(id.to_vec()));
            bytes = rest;
        }
        Ok(())
    }
}

/// A name in the extension's own directory, which leads nowhere else.
fn plain(name: &str) -> Result<&str> {
    match matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        true => Err(Errno::INVAL.into()),
        false => Ok(name),
    }
}

impl FileAsk {
    fn changes(&self) -> bool {
        matches!(
            self,
            Self::Write { .. }
                | Self::SetLen { .. }
                | Self::Punch { .. }
                | Self::SetTimes(_)
                | Self::SetAttribute { .. }
                | Self::RemoveAttribute { .. }
                | Self::KeepPrivileges { .. }
                | Self::RestorePrivileges
                | Self::DropPrivileges
        )
    }

    fn carry_out(self, file: &dyn LowerFile, bytes: &[u8]) -> Result<(Answer, Vec<u8>)> {
        let mut content = Vec::new();
        let answer = match self {
            Self::Read { len, .. } if len > PIECE => return Err(Errno::INVAL.into()),
            Self::Read { offset, len } => {
                content.resize(len, 0);
                let read = file.read_at(offset, &mut content)?;
                content.truncate(read);
                Answer::Done
            }
            Self::Write { offset } => {
                file.write_at(Credentials::HOST, offset, bytes)?;
                Answer::Done
            }
            Self::Facts => Answer::Facts(Some(Facts::of(file)?)),
            Self::SetLen { len } => done(file.set_len(len))?,
            Self::Sync { data_only } => done(file.sync(data_only))?,
            Self::Punch { offset, len } => done(file.punch(offset, len))?,
            Self::SeekData { offset } => {
                let data = file.seek(offset, Whence::Data)?;
                Answer::Extent(data, file.seek(data, Whence::Hole).unwrap_or(data))
            }
            Self::SeekHole { offset } => Answer::Number(file.seek(offset, Whence::Hole)?),
            Self::SetTimes(stamps) => done(file.set_times(&stamps.times().ok_or(Errno::INVAL)?))?,
            Self::Id => {
                content = file.id()?.0;
                Answer::Done
            }
            Self::Notes { about, from } => {
                let notes = file.notes(about);
                content = notes.into_iter().skip(from).take(PIECE).collect();
                Answer::Done
            }
            Self::Attribute { name } => match file.attribute(&name)? {
                Some(value) => {
                    content = value;
                    Answer::Done
                }
                None => Answer::Nothing,
            },
            Self::SetAttribute { name } => done(file.set_attribute(&name, bytes))?,
            Self::RemoveAttribute { name } => done(file.remove_attribute(&name))?,
            Self::KeepPrivileges { again } => done(file.keep_privileges(again))?,
            Self::RestorePrivileges => {
                file.restore_privileges();
                Answer::Done
            }
            Self::DropPrivileges => done(file.drop_privileges())?,
            Self::IsFixed => Answer::Flag(file.is_fixed()?),
            Self::IsOpenElsewhere => Answer::Flag(file.is_open_elsewhere()?),
            Self::MaxLen => Answer::Number(file.max_len()),
        };
        match content.len() > PIECE {
            true => Err(Errno::FBIG.into()),
            false => Ok((answer, content)),
        }
    }
}

fn done(outcome: Result<()>) -> Result<Answer> {
    outcome.map(|()| Answer::Done)
}
