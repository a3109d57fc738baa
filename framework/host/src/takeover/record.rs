//! The records of the log: what each one says, and its bytes.
//!
//! A record is the length of its body (4 bytes), a CRC-32 of the body (4), and the body; numbers are
//! in native order, for nobody but another process on this machine reads them. A worker that is
//! killed while it writes leaves a torn record at the end, which is not one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// One change of what has to be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// The kernel has been told of an inode `lookups` more times, and this is how it is found again.
    Inode {
        ino: u64,
        device: u64,
        number: u64,
        lookups: u64,
        /// Empty where the lower file system makes none.
        handle: &'a [u8],
        /// Directory and name by which it was last met.
        name: Option<(u64, &'a OsStr)>,
    },
    /// The kernel has been told of a known inode once more.
    Told { ino: u64 },
    /// The kernel has forgotten so many lookups.
    Forgotten { ino: u64, lookups: u64 },
    /// An extension adds to what it has acknowledged of a file and not written. `about` keeps notes
    /// of different layers apart.
    Note { ino: u64, about: u64, bytes: &'a [u8] },
    /// All that was noted of a file about something is written.
    Written { ino: u64, about: u64 },
    /// A request is about to swap two names, the first of which leads to this inode.
    Swap { unique: u64, ino: u64 },
}

const HEAD: usize = 8;

/// Length of the record of an inode, in bytes: head, kind, six numbers, handle, name.
pub(super) fn inode_len(handle: &[u8], name: Option<(u64, &OsStr)>) -> usize {
    HEAD + 1 + 6 * 8 + handle.len() + name.map_or(0, |(_, name)| name.len())
}

impl<'a> Record<'a> {
    pub(super) fn append(&self, log: &mut Vec<u8>) {
        let start = log.len();
        log.extend([0; HEAD]);
        self.append_body(log);
        let body = &log[start + HEAD..];
        let (len, crc) = (body.len() as u32, crc32fast::hash(body));
        log[start..start + 4].copy_from_slice(&len.to_ne_bytes());
        log[start + 4..start + HEAD].copy_from_slice(&crc.to_ne_bytes());
    }

    fn append_body(&self, log: &mut Vec<u8>) {
        let mut numbers = |kind: u8, numbers: &[u64]| {
            log.push(kind);
            numbers.iter().for_each(|number| log.extend(number.to_ne_bytes()));
        };
        match *self {
            Self::Inode { ino, device, number, lookups, handle, name } => {
                let (parent, name) = name.unwrap_or((0, OsStr::new("")));
                numbers(1, &[ino, device, number, lookups, parent, handle.len() as u64]);
                log.extend(handle);
                log.extend(name.as_bytes());
            }
            Self::Told { ino } => numbers(2, &[ino]),
            Self::Forgotten { ino, lookups } => numbers(3, &[ino, lookups]),
            Self::Note { ino, about, bytes } => {
                numbers(4, &[ino, about]);
                log.extend(bytes);
            }
            Self::Written { ino, about } => numbers(5, &[ino, about]),
            Self::Swap { unique, ino } => numbers(6, &[unique, ino]),
        }
    }

    /// The first record of a log, and what follows it; `None` where the log ends.
    pub(super) fn first(log: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = log.split_first_chunk::<HEAD>()?;
        let (len, crc) = head.split_first_chunk::<4>()?;
        let len = u32::from_ne_bytes(*len) as usize;
        let body = rest.get(..len).filter(|body| !body.is_empty())?;
        if crc != crc32fast::hash(body).to_ne_bytes() {
            return None;
        }
        Some((Self::decode(body)?, &rest[len..]))
    }

    fn decode(body: &'a [u8]) -> Option<Self> {
        let (kind, mut rest) = body.split_first()?;
        let mut number = || -> Option<u64> {
            let (bytes, behind) = rest.split_first_chunk()?;
            rest = behind;
            Some(u64::from_ne_bytes(*bytes))
        };
        Some(match kind {
            1 => {
                let (ino, device, inode) = (number()?, number()?, number()?);
                let (lookups, parent, handle_len) = (number()?, number()?, number()?);
                let (handle, name) = rest.split_at_checked(usize::try_from(handle_len).ok()?)?;
                let name = (parent != 0).then_some((parent, OsStr::from_bytes(name)));
                Self::Inode { ino, device, number: inode, lookups, handle, name }
            }
            2 => Self::Told { ino: number()? },
            3 => Self::Forgotten { ino: number()?, lookups: number()? },
            4 => {
                let (ino, about) = (number()?, number()?);
                Self::Note { ino, about, bytes: rest }
            }
            5 => Self::Written { ino: number()?, about: number()? },
            6 => Self::Swap { unique: number()?, ino: number()? },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Record<'static>> {
        let name = Some((1, OsStr::new("name")));
        let handle = &[7; 12];
        vec![
            Record::Inode { ino: 5, device: 1, number: 5, lookups: 1, handle, name },
            Record::Inode { ino: 6, device: 1, number: 6, lookups: 0, handle: &[], name: None },
            Record::Told { ino: 5 },
            Record::Forgotten { ino: 5, lookups: 2 },
            Record::Note { ino: 6, about: 9, bytes: b"note" },
            Record::Written { ino: 6, about: 9 },
            Record::Swap { unique: 8, ino: 5 },
        ]
    }

    #[test]
    fn records_are_read_as_they_were_written_and_end_where_the_log_is_torn() {
        let mut log = Vec::new();
        let mut ends = Vec::new();
        for record in samples() {
            let start = log.len();
            record.append(&mut log);
            if let Record::Inode { handle, name, .. } = record {
                assert_eq!(log.len() - start, inode_len(handle, name));
            }
            ends.push(log.len());
        }
        for cut in 0..=log.len() {
            let mut torn = log.clone();
            torn[cut..].fill(0);
            let mut rest = torn.as_slice();
            let mut found = Vec::new();
            while let Some((record, behind)) = Record::first(rest) {
                found.push(record);
                rest = behind;
            }
            let whole = ends.iter().filter(|end| **end <= cut).count();
            // The last bytes of a record may be zeros anyway.
            assert!(found.len() >= whole, "cut at {cut}");
            assert_eq!(found, samples()[..found.len()], "cut at {cut}");
        }
    }
}
