//! Moving images between a journal and lower files, unseen.

use hsci_extension::{Credentials, LowerFile, Result, Times};

/// Bytes copied at a time.
const COPY_LEN: usize = 1 << 20;

/// The content is what it was, so the times are, too. An unprivileged host may not set them on
/// another's file, which is no reason to fail.
pub(crate) fn restore_times(lower: &dyn LowerFile, times: &Times) {
    if let Err(error) = lower.set_times(times) {
        log::debug!("times of a settled file: {error}");
    }
}

/// Copies an image from a journal to the start of a lower file.
pub(crate) fn copy(
    journal: &dyn LowerFile,
    base: u64,
    lower: &dyn LowerFile,
    len: u64,
) -> Result<()> {
    let mut buffer = vec![0; COPY_LEN.min(len as usize)];
    let mut at = 0;
    while at < len {
        let part = &mut buffer[..(len - at).min(COPY_LEN as u64) as usize];
        journal.read_exact_at(base + at, part)?;
        lower.write_at(Credentials::HOST, at, part)?;
        at += part.len() as u64;
    }
    Ok(())
}
