//! The evaluator by itself, run by BPF_PROG_TEST_RUN: to compare it with the others, and to time it.

use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _};
use hsci_engine::Tables;
use hsci_engine::layout::{NONE, SubjectClass};

use crate::Error;
use crate::room::{self, Objects, objects};

const OBJECTS: Objects = objects!("evaluate");
const PROGRAM: &str = "evaluate";
/// Longest text that the kernel takes, in bytes.
pub const MAX_TEXT_LEN: usize = 4096;
/// As long as texts may be, and what masks cannot rule out.
const TEXT_ROOM: usize = MAX_TEXT_LEN + 256;
/// Most groups in a question.
pub const MAX_GROUPS: usize = 64;

/// A question in the kernel's words.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Question {
    /// Size of the object.
    pub size: u64,
    /// Open flags.
    pub flags: u32,
    /// Number of the file type.
    pub file_type: u32,
    /// Owner of the object.
    pub owner: u32,
    /// 0 if type, owner and size are not known.
    pub facts_are_known: u32,
    /// Number of the operation.
    pub operation: u32,
    /// Of the caller.
    pub uid: u32,
    /// Of the caller.
    pub pid_namespace: u32,
    groups: u32,
    path_len: u32,
    executable_len: u32,
    command_len: u32,
    cgroup_len: u32,
    /// How often each part is done.
    pub repeat: u32,
    reserved: u32,
    gids: [u32; MAX_GROUPS],
    path: [u8; TEXT_ROOM],
    executable: [u8; TEXT_ROOM],
    command: [u8; TEXT_ROOM],
    cgroup: [u8; TEXT_ROOM],
}

impl Default for Question {
    fn default() -> Self {
        let text = [0; TEXT_ROOM];
        Self {
            size: 0,
            flags: 0,
            file_type: 0,
            owner: 0,
            facts_are_known: 1,
            operation: 0,
            uid: 0,
            pid_namespace: 0,
            groups: 0,
            path_len: 0,
            executable_len: 0,
            command_len: 0,
            cgroup_len: 0,
            repeat: 1,
            reserved: 0,
            gids: [0; MAX_GROUPS],
            path: text,
            executable: text,
            command: text,
            cgroup: text,
        }
    }
}

impl Question {
    /// Asks about a path, at most [`MAX_TEXT_LEN`] bytes of it.
    pub fn set_path(&mut self, text: &[u8]) {
        self.path_len = copy(&mut self.path, text);
    }

    /// Describes the caller by texts, of which at most [`MAX_TEXT_LEN`] bytes are used.
    pub fn set_subject(&mut self, executable: &[u8], command: &[u8], cgroup: &[u8]) {
        self.executable_len = copy(&mut self.executable, executable);
        self.command_len = copy(&mut self.command, command);
        self.cgroup_len = copy(&mut self.cgroup, if cgroup == b"/" { b"" } else { cgroup });
    }

    /// Gives the caller groups, at most [`MAX_GROUPS`].
    pub fn set_groups(&mut self, gids: &[u32]) {
        let len = gids.len().min(MAX_GROUPS);
        self.gids[..len].copy_from_slice(&gids[..len]);
        self.groups = len as u32;
    }
}

fn copy(to: &mut [u8], from: &[u8]) -> u32 {
    let len = from.len().min(MAX_TEXT_LEN);
    to[..len].copy_from_slice(&from[..len]);
    len as u32
}

/// What the kernel answers.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Answer {
    /// The classified caller.
    pub subject: SubjectClass,
    /// 0 if decided.
    pub status: u32,
    /// 0 if it passes.
    pub errno: u32,
    rule: u32,
    audit: u32,
    /// Index of the option set.
    pub options: u32,
    target: u32,
    /// State after the path.
    pub state: u32,
    /// Class of the path.
    pub class: u32,
    step_ns: u64,
    judge_ns: u64,
}

impl Answer {
    /// The rule that decides.
    #[must_use]
    pub fn rule(&self) -> Option<u32> {
        (self.rule != NONE).then_some(self.rule)
    }

    /// The rule for which it is reported.
    #[must_use]
    pub fn audit(&self) -> Option<u32> {
        self.audit.checked_sub(1)
    }

    /// The target.
    #[must_use]
    pub fn target(&self) -> Option<u32> {
        (self.target != NONE).then_some(self.target)
    }

    /// How long all repetitions took to step through the path.
    #[must_use]
    pub fn step_time(&self) -> Duration {
        Duration::from_nanos(self.step_ns)
    }

    /// How long all repetitions took to judge.
    #[must_use]
    pub fn judge_time(&self) -> Duration {
        Duration::from_nanos(self.judge_ns)
    }
}

/// The loaded evaluator.
#[derive(Debug)]
pub struct Evaluator {
    ebpf: Ebpf,
    room: usize,
}

impl Evaluator {
    /// Loads it. Only root may.
    pub fn load() -> Result<Self, Error> {
        Self::load_with(0)
    }

    fn load_with(room: usize) -> Result<Self, Error> {
        let mut ebpf = crate::load(OBJECTS[room])?;
        let fail = |source| Error::Program { name: PROGRAM, source };
        let program = ebpf.program_mut(PROGRAM).ok_or(Error::Absent(PROGRAM))?;
        let program: &mut RawTracePoint = program.try_into().map_err(fail)?;
        program.load().map_err(fail)?;
        Ok(Self { ebpf, room })
    }

    /// Uses other tables.
    pub fn put(&mut self, tables: &Tables) -> Result<(), Error> {
        let (words, _) = room::words(tables);
        let needed = room::fitting(words.len())?;
        if needed > self.room {
            *self = Self::load_with(needed)?;
        }
        room::put(&mut self.ebpf, self.room, words)
    }

    /// Bytes that the tables take in the kernel.
    #[must_use]
    pub fn table_len(&self) -> usize {
        room::len(self.room)
    }

    /// Asks. Nothing if there are no tables yet.
    pub fn ask(&mut self, question: &Question) -> Result<Option<Answer>, Error> {
        self.array::<Question>("QUESTION")?
            .set(0, question, 0)
            .map_err(|source| map("QUESTION", source))?;
        let program = self.ebpf.program(PROGRAM).ok_or(Error::Absent(PROGRAM))?;
        let fail = |source| Error::Program { name: PROGRAM, source };
        let program: &RawTracePoint = program.try_into().map_err(fail)?;
        let result = program.test_run(RawTracePointRunOptions::new()).map_err(fail)?;
        if result.return_value != 0 {
            return Ok(None);
        }
        let answers: Array<&mut MapData, Answer> = self.array("ANSWER")?;
        answers.get(&0, 0).map(Some).map_err(|source| map("ANSWER", source))
    }

    fn array<V: aya::Pod>(&mut self, name: &'static str) -> Result<Array<&mut MapData, V>, Error> {
        let found = self.ebpf.map_mut(name).ok_or(Error::Absent(name))?;
        found.try_into().map_err(|source| map(name, source))
    }
}

fn map(name: &'static str, source: aya::maps::MapError) -> Error {
    Error::Map { name, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_no_padding() {
        let texts = 4 * TEXT_ROOM + 4 * MAX_GROUPS;
        assert_eq!(size_of::<Question>(), 8 + 14 * 4 + texts);
        assert_eq!(size_of::<Answer>(), size_of::<SubjectClass>() + 8 * 4 + 2 * 8);
    }
}
