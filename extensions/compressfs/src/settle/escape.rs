//! Bytes that look like an image but are a user's own are never stored as they are: the file gets
//! an image around what it holds so far, and goes on with a log.

use std::sync::Arc;

use hsci_extension::{Credentials, Error, Result};

use crate::algorithm::Algorithm;
use crate::codec;
use crate::compress::Compress;
use crate::form::{Awaited, File, Form, Pending, Segments, Source};
use crate::format::{Builder, ChunkRecord, HEAD_LEN};
use crate::journal::{Batch, Entry, Writer};
use crate::transfer::copy;

/// Longer files are refused such bytes: it is a caller who waits for the image, and others may wait for that.
const MAX_LEN: u64 = 16 << 20;

/// Turns a raw file into a stored one with the same content, uncompressed. The caller waits for
/// it, as hardly anybody ever does.
pub(crate) fn escape(compress: &Compress, file: &mut File) -> Result<()> {
    if file.len()? > MAX_LEN {
        let text = "bytes like those of an image at the start of a file that is long already";
        return Err(Error::TooLarge(text.to_owned()));
    }
    let mut journal = Writer::create(&compress.store)?;
    let (segments, entry) = prepare(compress, file, &mut journal)?;
    let batch = Batch::new(1);
    batch.close();
    file.offer(Pending { segments, log: None, batch: Arc::clone(&batch), place: 0 });
    let journal = match batch.commit(journal, &[entry]) {
        Ok(journal) => journal,
        Err(error) => {
            // In doubt, it is tried again before the file changes.
            let _ = file.resolve_pending();
            return Err(error);
        }
    };
    // Nobody can step back from a batch that is committed already: the file takes the image.
    file.resolve_pending()?;
    let Form::Stored(stored) = &mut file.form else {
        return Err(Error::Broken("an escaped file is raw".to_owned()));
    };
    copy(&**journal.file(), 0, (&*file.lower, 0), stored.segments.end())?;
    stored.segments.move_to(&file.lower);
    file.release();
    compress.store.sync_all()?;
    // Until the journal is gone, recovery would put the image back: the file has to keep it.
    journal.remove()?;
    batch.finish();
    Ok(())
}

/// Writes an image of the file to the journal, durably.
fn prepare(compress: &Compress, file: &File, journal: &mut Writer) -> Result<(Segments, Entry)> {
    let len = write_image(compress, file, journal)?;
    journal.sync()?;
    let source = Source::new(Arc::clone(journal.file()), 0);
    let images = Awaited { source, at: 0, len, log_len: 0 };
    let segments = Segments::with_awaited(&file.lower, &images)?;
    Ok((segments, Entry::new(&*file.lower, 0, 0, len)?))
}

/// Writes the image to the start of the journal; returns its length.
fn write_image(compress: &Compress, file: &File, journal: &mut Writer) -> Result<u64> {
    let (len, chunk_len) = (file.len()?, compress.settings.chunk_len);
    let algorithm = Algorithm::None;
    let mut builder = Builder::new(algorithm, chunk_len);
    journal.append(&[0; HEAD_LEN])?;
    let (mut bytes, mut frame) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < len {
        bytes.resize((len - at).min(chunk_len.into()) as usize, 0);
        frame.clear();
        file.lower.read_exact_at(at, &mut bytes)?;
        let kind = codec::encode(algorithm, &bytes, &mut frame)?;
        builder.push(&ChunkRecord::new(algorithm, kind, &frame));
        journal.append(&frame)?;
        at += bytes.len() as u64;
    }
    let head = builder.finish(len, &mut |bytes| journal.append(bytes))?;
    journal.file().write_at(Credentials::HOST, 0, &head)?;
    Ok(journal.end())
}
