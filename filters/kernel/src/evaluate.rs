//! The evaluator by itself, run by BPF_PROG_TEST_RUN: to compare it with the others, and to time it.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _};
use hsci_abi::evaluate::{ObjectFacts, RawAnswer, RawQuestion, RawVerdict, TEXT_ROOM, TextRoom};
use hsci_abi::tables::{NONE, SubjectClass};
use hsci_engine::Tables;

pub use hsci_abi::evaluate::{
    QUESTION_ANCESTORS as MAX_ANCESTORS, QUESTION_GROUPS as MAX_GROUPS, TEXT_LEN as MAX_TEXT_LEN,
};

use crate::Error;
use crate::room::{self, Objects, objects};
use crate::sys::Plain;

const OBJECTS: Objects = objects!("evaluate");
const PROGRAM: &str = "evaluate";
/// A question in the kernel's words.
#[derive(Clone, Copy, Debug)]
pub struct Question(RawQuestion);

impl Default for Question {
    fn default() -> Self {
        let text = TextRoom { bytes: [0; TEXT_ROOM] };
        Self(RawQuestion {
            facts: ObjectFacts {
                size: 0,
                time: 0,
                flags: 0,
                file_type: 0,
                owner: 0,
                are_known: 1,
                mode: 0,
                reserved: 0,
            },
            operation: 0,
            uid: 0,
            pid_namespace: 0,
            groups: 0,
            path_len: 0,
            executable_len: 0,
            command_len: 0,
            cgroup_len: 0,
            repeat: 1,
            event: 0,
            process: 0,
            child: 0,
            now: 0,
            marks: 0,
            over: 0,
            is_init: 0,
            secure: 0,
            reserved: 0,
            capabilities: 0,
            login: NONE,
            user_namespace: 0,
            ancestor_ends: [0; MAX_ANCESTORS],
            gids: [0; MAX_GROUPS],
            path: text,
            executable: text,
            command: text,
            cgroup: text,
            ancestors: text,
        })
    }
}

impl Deref for Question {
    type Target = RawQuestion;

    fn deref(&self) -> &RawQuestion {
        &self.0
    }
}

impl DerefMut for Question {
    fn deref_mut(&mut self) -> &mut RawQuestion {
        &mut self.0
    }
}

impl Question {
    /// Asks about a path, at most [`MAX_TEXT_LEN`] bytes of it.
    pub fn set_path(&mut self, text: &[u8]) {
        self.path_len = copy(&mut self.path.bytes, text);
    }

    /// Describes the caller by texts, of which at most [`MAX_TEXT_LEN`] bytes are used.
    pub fn set_subject(&mut self, executable: &[u8], command: &[u8], cgroup: &[u8]) {
        self.executable_len = copy(&mut self.executable.bytes, executable);
        self.command_len = copy(&mut self.command.bytes, command);
        self.cgroup_len = copy(&mut self.cgroup.bytes, if cgroup == b"/" { b"" } else { cgroup });
    }

    /// Gives the caller ancestors by their executables, as many as there is room for.
    pub fn set_ancestors(&mut self, executables: &[Vec<u8>]) {
        let mut end = 0;
        for (place, path) in self.0.ancestor_ends.iter_mut().zip(executables) {
            end += copy(&mut self.0.ancestors.bytes[end..], path) as usize;
            *place = end as u32;
        }
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
#[derive(Clone, Copy, Debug)]
pub struct Answer(RawAnswer);

impl Answer {
    /// The classified caller.
    #[must_use]
    pub fn subject(&self) -> SubjectClass {
        self.0.subject
    }

    /// State after the path.
    #[must_use]
    pub fn state(&self) -> u32 {
        self.0.state
    }

    /// True if a directory may not be renamed from this path to one that leads nowhere.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.0.is_bound != 0
    }

    /// What becomes of the call.
    #[must_use]
    pub fn verdict(&self) -> RawVerdict {
        self.0.verdict
    }

    /// Marks of the process afterwards.
    #[must_use]
    pub fn marks(&self) -> u64 {
        self.0.marks
    }

    /// The rates that are exceeded, as bits.
    #[must_use]
    pub fn over(&self) -> u32 {
        self.0.over
    }

    /// The rule that decides.
    #[must_use]
    pub fn rule(&self) -> Option<u32> {
        (self.0.verdict.rule != NONE).then_some(self.0.verdict.rule)
    }

    /// The rule for which it is reported.
    #[must_use]
    pub fn audit(&self) -> Option<u32> {
        self.0.verdict.audit.checked_sub(1)
    }

    /// The target.
    #[must_use]
    pub fn target(&self) -> Option<u32> {
        (self.0.verdict.target != NONE).then_some(self.0.verdict.target)
    }

    /// How long all repetitions took to step through the path.
    #[must_use]
    pub fn step_time(&self) -> Duration {
        Duration::from_nanos(self.0.step_ns)
    }

    /// How long all repetitions took to judge.
    #[must_use]
    pub fn judge_time(&self) -> Duration {
        Duration::from_nanos(self.0.judge_ns)
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
        self.array::<Plain<RawQuestion>>("QUESTION")?
            .set(0, Plain(question.0), 0)
            .map_err(|source| map("QUESTION", source))?;
        let program = self.ebpf.program(PROGRAM).ok_or(Error::Absent(PROGRAM))?;
        let fail = |source| Error::Program { name: PROGRAM, source };
        let program: &RawTracePoint = program.try_into().map_err(fail)?;
        let result = program.test_run(RawTracePointRunOptions::new()).map_err(fail)?;
        if result.return_value != 0 {
            return Ok(None);
        }
        let answers: Array<&mut MapData, Plain<RawAnswer>> = self.array("ANSWER")?;
        answers
            .get(&0, 0)
            .map(|answer| Some(Answer(answer.0)))
            .map_err(|source| map("ANSWER", source))
    }

    fn array<V: aya::Pod>(&mut self, name: &'static str) -> Result<Array<&mut MapData, V>, Error> {
        let found = self.ebpf.map_mut(name).ok_or(Error::Absent(name))?;
        found.try_into().map_err(|source| map(name, source))
    }
}

fn map(name: &'static str, source: aya::maps::MapError) -> Error {
    Error::Map { name, source }
}
