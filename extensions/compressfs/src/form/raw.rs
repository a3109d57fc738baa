//! Files whose lower bytes are the logical bytes.

use hsci_extension::{Acting, Errno, Error, FallocateFlags, LowerFile, Result};

use crate::format::{HEAD_LEN, looks_sealed};

/// True if the file would look sealed with `data` at `offset`. Such bytes are never stored as
/// they are, or they would be taken for an image.
pub(crate) fn would_look_sealed(lower: &dyn LowerFile, offset: u64, data: &[u8]) -> Result<bool> {
    if offset >= HEAD_LEN as u64 {
        return Ok(false);
    }
    if offset == 0 && data.len() >= HEAD_LEN {
        return Ok(looks_sealed(&data[..HEAD_LEN]));
    }
    let mut head = [0; HEAD_LEN];
    let known = lower.read_at(0, &mut head)?;
    let start = offset as usize;
    let end = HEAD_LEN.min(start + data.len());
    head[start..end].copy_from_slice(&data[..end - start]);
    Ok(looks_sealed(&head[..known.max(end)]))
}

/// Allocates a range, or makes it zeros.
pub(crate) fn fallocate(
    lower: Acting<'_>,
    mode: FallocateFlags,
    offset: u64,
    len: u64,
) -> Result<()> {
    let end = offset.checked_add(len).ok_or(Error::Lower(Errno::FBIG))?;
    if mode.contains(FallocateFlags::PUNCH_HOLE) {
        return lower.punch(offset, len);
    }
    if mode.contains(FallocateFlags::ZERO_RANGE) {
        lower.punch(offset, len)?;
    }
    lower.reserve(offset, len)?;
    if !mode.contains(FallocateFlags::KEEP_SIZE) && end > lower.len()? {
        lower.set_len(end)?;
    }
    Ok(())
}
