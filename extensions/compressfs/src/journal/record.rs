//! The bytes of a journal's record and footer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hsci_extension::{Error, FileId, LowerFile, Result, Times};

const MAGIC: [u8; 8] = *b"HSCIjrnl";
const VERSION: u32 = 1;
const FOOTER_LEN: usize = 40;
/// Longest record that is read: about half a million entries.
const MAX_RECORD_LEN: u64 = 64 << 20;

/// One image in a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The file that the image belongs to.
    pub(crate) file: FileId,
    /// Where the image starts in the journal.
    pub(crate) base: u64,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// The times that the file has once the image is installed.
    pub(crate) times: Times,
}

/// Record and footer, to be written at `offset`.
pub(super) fn encode(entries: &[Entry], offset: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let id = &entry.file.0;
        bytes.extend((id.len() as u16).to_le_bytes());
        bytes.extend(id);
        bytes.extend(entry.base.to_le_bytes());
        bytes.extend(entry.len.to_le_bytes());
        encode_time(&mut bytes, entry.times.accessed);
        encode_time(&mut bytes, entry.times.modified);
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

/// The entries of a journal, or `None` if it was never committed.
pub(super) fn read(file: &dyn LowerFile) -> Result<Option<Vec<Entry>>> {
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
    if version != VERSION {
        return Err(Error::Newer(format!("journal version {version}, this program knows 1")));
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
    let entries = (0..count).map(|_| decode_entry(&mut fields, offset)).collect::<Result<_>>()?;
    Ok(Some(entries))
}

fn decode_entry(fields: &mut Fields<'_>, images_end: u64) -> Result<Entry> {
    let id_len = u16::from_le_bytes(fields.take()?) as usize;
    let file = FileId(fields.bytes(id_len)?.to_vec());
    let (base, len) = (fields.u64()?, fields.u64()?);
    if base.checked_add(len).is_none_or(|end| end > images_end) {
        return Err(Error::Damaged("journal: an image lies outside of the journal".to_owned()));
    }
    let times = Times::new(fields.time()?, fields.time()?);
    Ok(Entry { file, base, len, times })
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
