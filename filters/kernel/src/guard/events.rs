//! Reports of the guard, as they come from the kernel.

use std::mem::offset_of;

use aya::maps::{MapData, RingBuf};
use hsci_abi::guard as abi;

/// Reports of the guard.
#[expect(missing_debug_implementations, reason = "the ring buffer has none")]
pub struct Events(RingBuf<MapData>);

/// Why something is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A rule says so.
    Audited,
    /// A rule denied it.
    Denied,
    /// A rule would have denied it, and the policy only reports.
    WouldDeny,
    /// It was refused to protect a store.
    Fenced,
    /// Something did not fit, or was not to be found out.
    Undecidable,
}

/// One report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds since the machine was started.
    pub time: u64,
    /// Inode of the object; 0 if it is about to be made.
    pub inode: u64,
    /// Who called.
    pub process: u32,
    /// As which user.
    pub user: u32,
    /// Number of the operation, unless it was not judged.
    pub operation: Option<u8>,
    /// Index of the rule.
    pub rule: Option<u32>,
    /// The error that the call got, or would have got; 0 if it passed.
    pub errno: u32,
    /// Why.
    pub kind: Kind,
    /// Under which command name.
    pub command: Vec<u8>,
    /// The last name of the path.
    pub name: Vec<u8>,
}

impl Events {
    pub(super) fn new(ring: RingBuf<MapData>) -> Self {
        Self(ring)
    }

    /// The next one that is there; never waits.
    pub fn take(&mut self) -> Option<Event> {
        let item = self.0.next()?;
        Event::parse(&item)
    }
}

impl std::os::fd::AsFd for Events {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Event {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let long = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let text = |at: usize, len: usize| {
            let field = bytes.get(at..at + len)?;
            Some(field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
        };
        let kind = match word(offset_of!(abi::Event, kind))? {
            abi::AUDITED => Kind::Audited,
            abi::DENIED => Kind::Denied,
            abi::WOULD_DENY => Kind::WouldDeny,
            abi::FENCED => Kind::Fenced,
            _ => Kind::Undecidable,
        };
        Some(Self {
            time: long(offset_of!(abi::Event, time))?,
            inode: long(offset_of!(abi::Event, inode))?,
            process: word(offset_of!(abi::Event, process))?,
            user: word(offset_of!(abi::Event, user))?,
            operation: u8::try_from(word(offset_of!(abi::Event, operation))?).ok(),
            rule: Some(word(offset_of!(abi::Event, rule))?)
                .filter(|rule| *rule != hsci_abi::tables::NONE),
            errno: word(offset_of!(abi::Event, errno))?,
            kind,
            command: text(offset_of!(abi::Event, command), abi::COMMAND_LEN)?,
            name: text(offset_of!(abi::Event, name), abi::NAME_LEN)?,
        })
    }
}
