//! Questions to the evaluator by itself, and its answers.

use crate::record::{Described, Record as _};
use crate::tables::SubjectClass;

/// Longest text that the kernel takes, in bytes.
pub const TEXT_LEN: usize = 4096;
/// As long as texts may be, and what masks cannot rule out.
pub const TEXT_ROOM: usize = TEXT_LEN + 256;
/// Most groups in a question.
pub const QUESTION_GROUPS: usize = 64;
/// Most ancestors in a question.
pub const QUESTION_ANCESTORS: usize = 4;

/// A call by a process with the marks in the question.
pub const EVENT_GIVEN: u32 = 0;
/// A call, after all before.
pub const EVENT_CALL: u32 = 1;
/// A process starts another.
pub const EVENT_FORK: u32 = 2;
/// A process has ended.
pub const EVENT_EXIT: u32 = 3;

/// The call is decided.
pub const DECIDED: u32 = 0;
/// A walk did not end.
pub const BROKEN: u32 = 1;
/// A rule asks for a fact that is not known here.
pub const UNKNOWN_FACT: u32 = 2;
/// There was no room to remember the caller.
pub const FORGOTTEN: u32 = 3;

crate::record::declare! {
    /// What is known about an object.
    ObjectFacts, "hsci_facts" {
        /// Size in bytes.
        size: u64,
        /// Seconds since 1970; 0 for now.
        time: u64,
        /// Open flags.
        flags: u32,
        /// Number of the file type.
        file_type: u32,
        /// User id.
        owner: u32,
        /// 0 if type, owner, size and permissions are not known.
        are_known: u32,
        /// Permissions.
        mode: u32,
        /// So that nothing is unsaid between this and what follows.
        reserved: u32,
    }
    /// What becomes of a call.
    RawVerdict, "hsci_verdict" {
        /// One of the numbers above.
        status: u32,
        /// 0 if it passes.
        errno: u32,
        /// Index of the rule that decides, or none.
        rule: u32,
        /// Index of the rule for which it is reported plus 1, or 0.
        audit: u32,
        /// Index of the option set.
        options: u32,
        /// Index of the target, or none.
        target: u32,
        /// Index of what it does to marks if it goes on.
        effect: u32,
        /// Rates that count it, as bits.
        counted: u32,
    }
    /// Room for a text, and after it what masks cannot rule out.
    TextRoom, "hsci_text_room" {
        /// The text.
        bytes: [u8; TEXT_ROOM],
    }
    /// A question.
    RawQuestion, "hsci_question" {
        /// What is known about the object.
        facts: ObjectFacts,
        /// Number of the operation.
        operation: u32,
        /// Of the caller.
        uid: u32,
        /// Of the caller.
        pid_namespace: u32,
        /// Number of groups.
        groups: u32,
        /// Length of the path.
        path_len: u32,
        /// Length of the executable's path.
        executable_len: u32,
        /// Length of the command name.
        command_len: u32,
        /// Length of the cgroup's path.
        cgroup_len: u32,
        /// How often each part is done, for its time.
        repeat: u32,
        /// One of the `EVENT_` numbers.
        event: u32,
        /// Key of the calling process.
        process: u64,
        /// Key of the process that it starts.
        child: u64,
        /// When it calls, in nanoseconds.
        now: u64,
        /// Its marks, where nothing is remembered.
        marks: u64,
        /// Rates that are exceeded then, as bits.
        over: u32,
        /// 1 if it is init.
        is_init: u32,
        /// 1 if nobody but root could steer what the caller has executed.
        secure: u32,
        /// 0.
        reserved: u32,
        /// Effective capabilities of the caller, as bits.
        capabilities: u64,
        /// User id of its login.
        login: u32,
        /// Of the caller.
        user_namespace: u32,
        /// Where the path of each ancestor's executable ends in `ancestors`.
        ancestor_ends: [u32; QUESTION_ANCESTORS],
        /// Of the caller.
        gids: [u32; QUESTION_GROUPS],
        /// The path.
        path: TextRoom,
        /// Of the caller.
        executable: TextRoom,
        /// Of the caller.
        command: TextRoom,
        /// Of the caller.
        cgroup: TextRoom,
        /// Paths of its ancestors' executables, one after the other.
        ancestors: TextRoom,
    }
    /// An answer.
    RawAnswer, "hsci_answer" {
        /// The classified caller.
        subject: SubjectClass,
        /// What becomes of the call.
        verdict: RawVerdict,
        /// State after the path.
        state: u32,
        /// Class of the path.
        class: u32,
        /// 1 if a directory may not be renamed from this path to one that leads nowhere.
        is_bound: u32,
        /// Rates that are exceeded, as bits.
        over: u32,
        /// Marks of the process afterwards.
        marks: u64,
        /// Nanoseconds for all repetitions.
        step_ns: u64,
        /// The same.
        judge_ns: u64,
    }
}

pub(crate) fn records() -> Vec<Described> {
    vec![
        ObjectFacts::describe(),
        RawVerdict::describe(),
        TextRoom::describe(),
        RawQuestion::describe(),
        RawAnswer::describe(),
    ]
}

pub(crate) const NUMBERS: &[(&str, u64)] = &[
    ("TEXT_LEN", TEXT_LEN as u64),
    ("QUESTION_GROUPS", QUESTION_GROUPS as u64),
    ("QUESTION_ANCESTORS", QUESTION_ANCESTORS as u64),
    ("EVENT_GIVEN", EVENT_GIVEN as u64),
    ("EVENT_CALL", EVENT_CALL as u64),
    ("EVENT_FORK", EVENT_FORK as u64),
    ("EVENT_EXIT", EVENT_EXIT as u64),
    ("DECIDED", DECIDED as u64),
    ("BROKEN", BROKEN as u64),
    ("UNKNOWN_FACT", UNKNOWN_FACT as u64),
    ("FORGOTTEN", FORGOTTEN as u64),
];
