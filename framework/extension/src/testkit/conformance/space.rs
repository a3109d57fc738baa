//! Holes and allocation.

use super::subject::Subject;
use super::{Case, Outcome, same, same_bytes, text};
use crate::{Errno, FallocateFlags, Result, Whence};

const LEN: usize = 400_000;

pub(super) fn cases<S: Subject>() -> Vec<Case<S>> {
    vec![
        ("a punched range reads as zeros, and the size stays", punching),
        ("a zeroed range reads as zeros", zeroing),
        ("allocation extends, unless the size is kept", allocating),
        ("unknown modes of allocation are refused", unknown_modes),
        ("seeking finds all data, and ends", seeking),
    ]
}

/// True if the file system does not do that at all, which is for it to say.
fn is_refused(done: &Result<()>) -> bool {
    done.as_ref().is_err_and(|error| error.errno() == Errno::OPNOTSUPP)
}

fn punching<S: Subject>(subject: &S) -> Outcome {
    let file = subject.create("file")?;
    let mut bytes = text(1, LEN);
    subject.write(&file, 0, &bytes)?;
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    for (from, to) in [(100, 200), (4_096, 8_192), (100_000, 300_001), (390_000, LEN)] {
        subject.disturb();
        let punched = subject.allocate(&file, mode, from as u64, (to - from) as u64);
        if is_refused(&punched) {
            return Ok(());
        }
        punched?;
        bytes[from..to].fill(0);
        same!(subject.stat(&file)?.size, LEN as u64, "size");
        same_bytes(&subject.read(&file, 0, LEN + 1)?, &bytes, "punched")?;
    }
    subject.allocate(&file, mode, LEN as u64 - 10, 1_000_000)?;
    bytes[LEN - 10..].fill(0);
    subject.disturb();
    same!(subject.stat(&file)?.size, LEN as u64, "size after punching behind the end");
    same_bytes(&subject.read(&file, 0, LEN + 1)?, &bytes, "at the end")
}

fn zeroing<S: Subject>(subject: &S) -> Outcome {
    let file = subject.create("file")?;
    let mut bytes = text(2, LEN);
    subject.write(&file, 0, &bytes)?;
    subject.disturb();
    let zeroed = subject.allocate(&file, FallocateFlags::ZERO_RANGE, 50_000, 100_000);
    if is_refused(&zeroed) {
        return Ok(());
    }
    zeroed?;
    bytes[50_000..150_000].fill(0);
    same_bytes(&subject.read(&file, 0, LEN + 1)?, &bytes, "zeroed")?;
    subject.allocate(&file, FallocateFlags::ZERO_RANGE, LEN as u64 - 5, 10)?;
    bytes[LEN - 5..].fill(0);
    bytes.resize(LEN + 5, 0);
    subject.disturb();
    same_bytes(&subject.read(&file, 0, LEN + 10)?, &bytes, "zeroed across the end")
}

fn allocating<S: Subject>(subject: &S) -> Outcome {
    let file = subject.create("file")?;
    let mut bytes = text(3, 10_000);
    subject.write(&file, 0, &bytes)?;
    subject.disturb();
    let kept = subject.allocate(&file, FallocateFlags::KEEP_SIZE, 5_000, 50_000);
    if is_refused(&kept) {
        return Ok(());
    }
    kept?;
    same!(subject.stat(&file)?.size, 10_000, "size that was to be kept");
    subject.allocate(&file, FallocateFlags::empty(), 5_000, 50_000)?;
    bytes.resize(55_000, 0);
    same!(subject.stat(&file)?.size, 55_000, "size");
    subject.disturb();
    same_bytes(&subject.read(&file, 0, 60_000)?, &bytes, "allocated")
}

fn unknown_modes<S: Subject>(subject: &S) -> Outcome {
    let file = subject.create("file")?;
    let bytes = text(4, 50_000);
    subject.write(&file, 0, &bytes)?;
    let done = subject.allocate(&file, FallocateFlags::UNSHARE_RANGE, 0, 4_096);
    let text = format!("{done:?}");
    let fine = done.is_ok() || is_refused(&done);
    same!(fine, true, "it worked or is not supported, answer {text}");
    same_bytes(&subject.read(&file, 0, 50_001)?, &bytes, "content")
}

fn seeking<S: Subject>(subject: &S) -> Outcome {
    let file = subject.create("file")?;
    let data = text(5, 30_000);
    let parts = [0, 200_000, 700_001];
    let mut bytes = vec![0; 900_000];
    for at in parts {
        subject.write(&file, at as u64, &data)?;
        bytes[at..at + data.len()].copy_from_slice(&data);
    }
    subject.set_len(&file, bytes.len() as u64)?;
    for _ in 0..2 {
        check_map(subject, &file, &bytes)?;
        subject.disturb();
    }
    Ok(())
}

/// Follows data and holes through the file: no hole holds data, and the end is found.
fn check_map<S: Subject>(subject: &S, file: &S::File, bytes: &[u8]) -> Outcome {
    let size = bytes.len();
    let seek = |at: usize, whence| match subject.seek(file, at as u64, whence) {
        Ok(found) => Ok(Some(found as usize)),
        Err(error) if error.errno() == Errno::NXIO => Ok(None),
        Err(error) => Err(error),
    };
    let mut at = 0;
    while at < size {
        let start = seek(at, Whence::Data)?.unwrap_or(size);
        same!(start >= at && start <= size, true, "data behind {at} starts at {start}");
        let hole = &bytes[at..start];
        same!(hole.iter().all(|byte| *byte == 0), true, "zeros in the hole {at}..{start}");
        if start == size {
            break;
        }
        let end = seek(start, Whence::Hole)?.unwrap_or(size);
        same!(end > start && end <= size, true, "the hole behind {start} starts at {end}");
        at = end;
    }
    same!(seek(size, Whence::Data)?, None, "data at the end of the file");
    same!(seek(size, Whence::Hole)?, None, "a hole at the end of the file");
    Ok(())
}
