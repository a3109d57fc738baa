//! What the guard counts, reports and is told.

use crate::record::{Described, Record as _};

/// Targets whose calls are counted.
pub const TARGETS: usize = 256;
/// A command name with its NUL.
pub const COMMAND_LEN: usize = 16;
/// A name in a directory with its NUL.
pub const NAME_LEN: usize = 256;

/// Longest path of a mounted part within its file system, in bytes.
pub const PREFIX_LEN: usize = 64;

/// A rule says so.
pub const AUDITED: u32 = 1;
/// A rule denied it.
pub const DENIED: u32 = 2;
/// It was refused to protect a store.
pub const FENCED: u32 = 3;
/// Something did not fit, or was not to be found out.
pub const UNDECIDABLE: u32 = 4;
/// A rule would have denied it, under a policy that only reports.
pub const WOULD_DENY: u32 = 5;

/// Order, an ioctl on the directory of the pins: the caller is the command from now on. Once.
pub const CLAIM: u32 = 0x6873_6301;
/// Order, on a store: only the caller and the process that the argument names may use it.
pub const FENCE: u32 = 0x6873_6302;
/// Order, on a store: everybody may, again.
pub const UNFENCE: u32 = 0x6873_6303;

/// In the number of an own program, to tell it from a map's.
pub const PROGRAM: u32 = 1 << 31;

crate::record::declare! {
    /// The guard's state.
    GuardState, "hsci_guard" {
        /// [`crate::ABI`] of who loaded the programs.
        abi: u32,
        /// Report, do not enforce.
        permissive: u32,
        /// Rises when labels may have become wrong.
        epoch: u32,
        /// The policy that is in force, 0 for none. Set after its tables are there; with the epoch, one word.
        generation: u32,
        /// Which of the rooms for tables the programs were built for.
        room: u32,
        /// Device that holds the pins.
        pins_device: u32,
        /// Device of the command's executable.
        command_device: u32,
        /// 0.
        reserved: u32,
        /// Its inode; 0 before a command has made itself known.
        command_inode: u64,
        /// Calls that a rule matched.
        judged: u64,
        /// Calls that a rule denied.
        denied: u64,
        /// Calls that were refused to protect stores, hosts or the guard itself.
        fenced: u64,
        /// Calls that were refused because something did not fit or was not to be found out.
        undecidable: u64,
        /// Reports that nobody took.
        lost: u64,
        /// Calls to each target.
        targets: [u64; TARGETS],
    }
    /// A report.
    Event, "hsci_event" {
        /// Nanoseconds since the machine was started.
        time: u64,
        /// Inode of the object; 0 if it is about to be made.
        inode: u64,
        /// Device of the object.
        device: u32,
        /// Who called.
        process: u32,
        /// As which user.
        user: u32,
        /// Number of the operation, or none.
        operation: u32,
        /// Index of the rule, or none.
        rule: u32,
        /// The error that the call got, or would have got.
        errno: u32,
        /// One of the numbers above.
        kind: u32,
        /// Which tables the rule is from.
        generation: u32,
        /// The caller's command name.
        command: [u8; COMMAND_LEN],
        /// The last name of the path.
        name: [u8; NAME_LEN],
    }
    /// Names the root of a file system, for one policy: states of the next are there before it is in force.
    RootKey, "hsci_root_key" {
        /// The file system, as the kernel writes it.
        device: u32,
        /// The policy.
        generation: u32,
    }
    /// Where a file system lies in the machine's own mount namespace.
    RootPlace, "hsci_root_place" {
        /// State of the path of its root; [`crate::tables::NONE`] if only a part of it is mounted.
        path: u32,
        /// State of the part's path among executables.
        executable: u32,
        /// Length of the path within the file system of the part that is mounted; 0 for all of it.
        prefix_len: u32,
        /// 0.
        reserved: u32,
        /// That path.
        prefix: [u8; PREFIX_LEN],
    }
}

pub(crate) fn records() -> Vec<Described> {
    vec![GuardState::describe(), Event::describe(), RootKey::describe(), RootPlace::describe()]
}

pub(crate) const NUMBERS: &[(&str, u64)] = &[
    ("TARGETS", TARGETS as u64),
    ("COMMAND_LEN", COMMAND_LEN as u64),
    ("NAME_LEN", NAME_LEN as u64),
    ("PREFIX_LEN", PREFIX_LEN as u64),
    ("AUDITED", AUDITED as u64),
    ("DENIED", DENIED as u64),
    ("FENCED", FENCED as u64),
    ("UNDECIDABLE", UNDECIDABLE as u64),
    ("WOULD_DENY", WOULD_DENY as u64),
    ("CLAIM", CLAIM as u64),
    ("FENCE", FENCE as u64),
    ("UNFENCE", UNFENCE as u64),
    ("PROGRAM", PROGRAM as u64),
];
