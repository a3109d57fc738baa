//! The bytes of a journal's record and footer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hsci_extension::{Error, FileId, LowerFile, Result, Times};

use super::ALIGNMENT;

const MAGIC: [u8; 8] = *b"HSCIjrnl";
/// Version 1 has neither epochs nor what the files were, version 2 no images that continue others.
const VERSION: u32 = 3;
const FOOTER_LEN: usize = 40;
/// Longest record that is read: about half a million entries.
const MAX_RECORD_LEN: u64 = 64 << 20;

/// What a lower file is known by, beside its lasting name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) len: u64,
    pub(crate) modified: SystemTime,
}

impl Seen {
    pub(crate) fn of(lower: &dyn LowerFile) -> Result<Self> {
        Ok(Self { len: lower.len()?, modified: lower.times()?.modified })
    }
}

/// Images of one file in a journal, one after another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The file that the images belong to.
    pub(crate) file: FileId,
    /// Where the first starts in the journal.
    pub(crate) base: u64,
    /// Their length in bytes.
    pub(crate) len: u64,
    /// Where they go in the file: those that lie before stay.
    pub(crate) at: u64,
    /// Length of the log that comes after them, at the next multiple of 4096; 0 if it is empty.
    pub(crate) log_len: u64,
    /// The times that the file has once the image is installed.
    pub(crate) times: Times,
    /// What the image replaces. Unknown to version 1.
    pub(crate) seen: Option<Seen>,
    /// Recovery has tried to install it before, and could not: [`Entry::seen`] is from afterwards.
    pub(crate) left: bool,
}

impl Entry {
    /// Images of what a file holds now.
    pub(crate) fn new(lower: &dyn LowerFile, base: u64, at: u64, len: u64) -> Result<Self> {
        let times = lower.times()?;
        let seen = Some(Seen { len: lower.len()?, modified: times.modified });
        Ok(Self { file: lower.id()?, base, len, at, log_len: 0, times, seen, left: false })
    }

    /// Bytes in the journal: the images, and the log.
    pub(crate) fn total_len(&self) -> u64 {
        match self.log_len {
            0 => self.len,
            log_len => self.len.next_multiple_of(ALIGNMENT).saturating_add(log_len),
        }
    }
}

/// What a journal commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// That of the store when it was committed; unknown to version 1.
    pub(crate) epoch: Option<u64>,
    pub(crate) entries: Vec<Entry>,
}

/// Record and footer, to be written at `offset`.
pub(super) fn encode(epoch: u64, entries: &[Entry], offset: u64) -> Vec<u8> {
    let mut bytes = epoch.to_le_bytes().to_vec();
    for entry in entries {
        encode_entry(&mut bytes, entry);
    }
    let (len, crc) = (bytes.len() as u64, crc32c::crc32c(&bytes));
    let footer = bytes.len();
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((entries.len() as u32).to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes.extend(len.to_le_bytes());
    bytes.extend(crc.to_le_bytes());
    bytes.extend(crc32c::crc32c(&bytes[footer..]).to_le_bytes());
    debug_assert_eq!(bytes.len(), footer + FOOTER_LEN);
    bytes
}

fn encode_entry(bytes: &mut Vec<u8>, entry: &Entry) {
    let id = &entry.file.0;
    bytes.extend((id.len() as u16).to_le_bytes());
    bytes.extend(id);
    bytes.extend(entry.base.to_le_bytes());
    bytes.extend(entry.len.to_le_bytes());
    bytes.extend(entry.at.to_le_bytes());
    bytes.extend(entry.log_len.to_le_bytes());
    encode_time(bytes, entry.times.accessed);
    encode_time(bytes, entry.times.modified);
    let unknown = Seen { len: 0, modified: UNIX_EPOCH };
    let seen = entry.seen.as_ref().unwrap_or(&unknown);
    bytes.extend(seen.len.to_le_bytes());
    encode_time(bytes, seen.modified);
    bytes.push(u8::from(entry.seen.is_some()) | u8::from(entry.left) << 1);
}

/// What a journal commits, or `None` if it was never committed.
pub(super) fn read(file: &dyn LowerFile) -> Result<Option<Record>> {
    let Some(at) = file.len()?.checked_sub(FOOTER_LEN as u64) else {
        return Ok(None);
    };
    let mut footer = [0; FOOTER_LEN];
    file.read_exact_at(at, &mut footer)?;
    let mut fields = Fields(&footer);
    let magic: [u8; 8] = fields.take()?;
    let (version, count) = (fields.u32()?, fields.u32()?);
    let (offset, len, crc) = (fields.u64()?, fields.u64()?, fields.u32()?);
    let intact = fields.u32()? == crc32c::crc32c(&footer[..FOOTER_LEN - 4]);
    if magic != MAGIC || !intact {
        return Ok(None);
    }
    if !(1..=VERSION).contains(&version) {
        return Err(Error::Newer(format!(
            "journal version {version}, this program knows {VERSION}"
        )));
    }
    if len > MAX_RECORD_LEN || offset.checked_add(len) != Some(at) {
        return Ok(None);
    }
    let mut record = vec![0; len as usize];
    file.read_exact_at(offset, &mut record)?;
    if crc32c::crc32c(&record) != crc {
        return Ok(None);
    }
    let mut fields = Fields(&record);
    let epoch = if version == 1 { None } else { Some(fields.u64()?) };
    let entries: Vec<Entry> =
        (0..count).map(|_| decode_entry(&mut fields, version)).collect::<Result<_>>()?;
    require_inside(&entries, offset)?;
    Ok(Some(Record { epoch, entries }))
}

fn decode_entry(fields: &mut Fields<'_>, version: u32) -> Result<Entry> {
    let id_len = u16::from_le_bytes(fields.take()?) as usize;
    let file = FileId(fields.bytes(id_len)?.to_vec());
    let (base, len) = (fields.u64()?, fields.u64()?);
    let (at, log_len) = if version > 2 { (fields.u64()?, fields.u64()?) } else { (0, 0) };
    let times = Times::new(fields.time()?, fields.time()?);
    let mut entry = Entry { file, base, len, at, log_len, times, seen: None, left: false };
    if version > 1 {
        let seen = Seen { len: fields.u64()?, modified: fields.time()? };
        let [flags] = fields.take()?;
        entry.seen = (flags & 1 != 0).then_some(seen);
        entry.left = flags & 2 != 0;
    }
    Ok(entry)
}

/// Images lie before the record, none over another, and no file gets two: together they write no
/// more than the journal holds.
pub(crate) fn require_inside(entries: &[Entry], images_end: u64) -> Result<()> {
    let damaged = |what: &str| Err(Error::Damaged(format!("journal: {what}")));
    let mut files: Vec<&FileId> = entries.iter().map(|entry| &entry.file).collect();
    files.sort_by(|one, other| one.0.cmp(&other.0));
    if files.windows(2).any(|pair| pair[0] == pair[1]) {
        return damaged("two images for one file");
    }
    const END: u64 = i64::MAX as u64;
    if entries.iter().any(|entry| entry.len > END || entry.at > END - entry.len) {
        return damaged("an image that reaches beyond any file");
    }
    let mut images: Vec<(u64, u64)> =
        entries.iter().map(|entry| (entry.base, entry.total_len())).collect();
    images.sort_unstable();
    let mut end = 0;
    for (base, len) in images {
        let (before, after) = (end, base.checked_add(len));
        match after {
            Some(after) if base >= before && after <= images_end => end = after,
            _ => return damaged("an image lies outside of the journal, or in another one"),
        }
    }
    Ok(())
}

/// Whole seconds since 1970, rounded down, and the nanoseconds above them.
fn encode_time(bytes: &mut Vec<u8>, time: SystemTime) {
    let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => (since.as_secs() as i64, since.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            match before.subsec_nanos() {
                0 => (-(before.as_secs() as i64), 0),
                nanos => (-(before.as_secs() as i64) - 1, 1_000_000_000 - nanos),
            }
        }
    };
    bytes.extend(seconds.to_le_bytes());
    bytes.extend(nanos.to_le_bytes());
}

/// Takes fields off the front of a record.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let short = || Error::Damaged("journal: the record ends early".to_owned());
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.bytes(N)?.try_into().expect("exactly N bytes"))
    }

    fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> Result<SystemTime> {
        let seconds = i64::from_le_bytes(self.take()?);
        let nanos = Duration::from_nanos(self.u32()?.into());
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let second =
            if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        let time = second.and_then(|second| second.checked_add(nanos));
        time.ok_or_else(|| Error::Damaged("journal: a time is out of range".to_owned()))
    }
}
