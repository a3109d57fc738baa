//! One chunk of a file, compressed.

use hsci_extension::{Call, Content, Error, Result};

use super::plan::Plan;
use crate::codec::{self, Kind};
use crate::compress::Compress;
use crate::form::{File, Form};
use crate::format::ChunkRecord;

/// A frame, and what the index has to tell of it.
pub(super) struct Encoded {
    pub(super) record: ChunkRecord,
    pub(super) frame: Vec<u8>,
}

/// Encodes a chunk of a file as it is now. [`Error::Busy`] if the file has changed.
pub(super) fn encode(
    compress: &Compress,
    plan: &Plan<'_>,
    chunk: u64,
    bytes: &mut Vec<u8>,
) -> Result<Encoded> {
    compress.kernel.make_way();
    let start = chunk * u64::from(plan.chunk_len);
    let len = plan.len_of_chunk(chunk);
    let mut frame = Vec::new();
    {
        let file = plan.read()?;
        if let Some(record) = take_over(&file, plan, chunk, &mut frame)? {
            return Ok(Encoded { record, frame });
        }
        bytes.resize(len, 0);
        if compress.read(&file, &Call::internal(), start, bytes)? != len {
            return Err(Error::Busy);
        }
    }
    let kind = codec::encode(plan.algorithm, bytes, &mut frame)?;
    Ok(Encoded { record: ChunkRecord::new(plan.algorithm, kind, &frame), frame })
}

/// Encodes a chunk of `len` zeros.
pub(super) fn encode_hole(plan: &Plan<'_>, len: usize) -> Result<Encoded> {
    let mut frame = Vec::new();
    codec::encode_hole(plan.algorithm.codec(), len, &mut frame)?;
    Ok(Encoded { record: ChunkRecord::new(plan.algorithm, Kind::Hole, &frame), frame })
}

/// The chunk as the present image has it, if that is what the new one shall have.
fn take_over(
    file: &File,
    plan: &Plan<'_>,
    chunk: u64,
    frame: &mut Vec<u8>,
) -> Result<Option<ChunkRecord>> {
    let Form::Stored(stored) = &file.form else {
        return Ok(None);
    };
    let segments = &stored.segments;
    if segments.chunk_len() == u64::from(plan.chunk_len)
        && stored.is_from_image(chunk)?
        && segments.algorithm_of(chunk) == plan.algorithm
    {
        segments.frame(chunk, frame).map(Some)
    } else {
        Ok(None)
    }
}
