//! A call to be judged: who, what, where, and what is known about the object.

pub use hsci_abi::{FileType, OpenFlag};

use crate::operation::Operation;

/// The inode number of the initial pid namespace, which is the same on every Linux.
pub const HOST_PID_NAMESPACE: u32 = 0xEFFF_FFFC;
pub use hsci_abi::tables::FIRST_USER_NAMESPACE as HOST_USER_NAMESPACE;
/// The login user id of processes that belong to no login.
pub const NO_LOGIN: u32 = u32::MAX;

/// Who calls. Facts that do not change between two calls of one process, unless it executes a
/// program or changes its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// File-system user id.
    pub uid: u32,
    /// File-system group id and supplementary group ids.
    pub gids: Vec<u32>,
    /// Absolute path of the executable.
    pub executable: Vec<u8>,
    /// The command name of the thread, at most 15 bytes.
    pub command: Vec<u8>,
    /// Absolute path of the cgroup in the unified hierarchy.
    pub cgroup: Vec<u8>,
    /// Inode number of the pid namespace.
    pub pid_namespace: u32,
    /// Inode number of the user namespace.
    pub user_namespace: u32,
    /// Effective capabilities over the machine, as bits: none in another user namespace than its own.
    pub capabilities: u64,
    /// True if nobody but root could steer what it has executed, by the environment or as its tracer.
    pub secure: bool,
    /// User id of the login that the process belongs to, or [`NO_LOGIN`].
    pub login: u32,
    /// Absolute paths of the executables of its parent, of that one's parent, and so on.
    pub ancestors: Vec<Vec<u8>>,
}

impl Default for Subject {
    /// Somebody whom no rule is likely to name: `nobody`, without groups or executable.
    fn default() -> Self {
        Self {
            uid: 65534,
            gids: Vec::new(),
            executable: Vec::new(),
            command: Vec::new(),
            cgroup: b"/".to_vec(),
            pid_namespace: HOST_PID_NAMESPACE,
            user_namespace: HOST_USER_NAMESPACE,
            capabilities: 0,
            secure: false,
            login: NO_LOGIN,
            ancestors: Vec::new(),
        }
    }
}

/// Noon of Monday, the first of January 2024: when calls are made of which nothing else is said.
pub const SOME_NOON: u64 = 1_704_110_400;

/// What is known about the object and the way it is used, at the moment of the call. For an object
/// that does not exist yet: the type it is about to get, the caller as owner, and size 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Open flags, a bit for each [`OpenFlag`] by its number; 0 where nothing is opened.
    pub flags: u32,
    /// Its type.
    pub file_type: FileType,
    /// Its owner.
    pub owner: u32,
    /// Its size in bytes.
    pub size: u64,
    /// Its permissions, with set-user-id, set-group-id and sticky bit: `mode & 0o7777`; 0 of what is about to be made.
    pub mode: u32,
    /// When the call is made: seconds since 1970 in UTC.
    pub time: u64,
}

impl Facts {
    /// A regular file of `owner`, empty and without permissions, used without open flags, at [`SOME_NOON`].
    #[must_use]
    pub fn of_owner(owner: u32) -> Self {
        Self { flags: 0, file_type: FileType::Regular, owner, size: 0, mode: 0, time: SOME_NOON }
    }

    /// True if the flag is set.
    #[must_use]
    pub fn has(&self, flag: OpenFlag) -> bool {
        self.flags & 1 << flag.number() != 0
    }
}

/// What earlier calls have left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The caller's marks, a bit for each by its number.
    pub marks: u64,
    /// The rates that are exceeded, in the same way. Only those that count the call matter.
    pub over: u32,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is to be done.
    pub operation: Operation,
    /// To which path: absolute, without empty, `.` and `..` components, without a slash at the end;
    /// the root is empty.
    pub path: Vec<u8>,
    /// By whom.
    pub subject: Subject,
    /// With which facts.
    pub facts: Facts,
    /// After which calls.
    pub memory: Memory,
}
