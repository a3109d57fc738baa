//! Moving images between a journal and lower files, unseen.

use hsci_extension::{Credentials, Errno, Error, LowerFile, Result, Times, Whence};

/// Bytes copied at a time.
const COPY_LEN: u64 = 1 << 20;

/// The content is what it was, so the times are, too. An unprivileged host may not set them on
/// another's file, which is no reason to fail.
pub(crate) fn restore_times(lower: &dyn LowerFile, times: &Times) {
    if let Err(error) = lower.set_times(times) {
        log::debug!("times of a settled file: {error}");
    }
}

/// Copies an image to a place in another file. What is a hole in the one is a hole in the other, so
/// that a copy takes no more space than the image does.
pub(crate) fn copy(
    journal: &dyn LowerFile,
    base: u64,
    (to, place): (&dyn LowerFile, u64),
    len: u64,
) -> Result<()> {
    let mut buffer = vec![0; COPY_LEN.min(len) as usize];
    let mut at = 0;
    while at < len {
        let data = next_data(journal, base + at).saturating_sub(base).clamp(at, len);
        if data > at {
            if to.len()? < place + data {
                to.set_len(place + data)?;
            }
            to.punch(place + at, data - at)?;
            at = data;
            continue;
        }
        let part = &mut buffer[..(len - at).min(COPY_LEN) as usize];
        journal.read_exact_at(base + at, part)?;
        to.write_at(Credentials::HOST, place + at, part)?;
        at += part.len() as u64;
    }
    Ok(())
}

/// Not every file system knows its holes.
fn next_data(file: &dyn LowerFile, from: u64) -> u64 {
    match file.seek(from, Whence::Data) {
        Ok(data) => data,
        Err(Error::Lower(Errno::NXIO)) => u64::MAX,
        Err(_) => from,
    }
}
