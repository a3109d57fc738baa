//! Reading and writing.

use std::time::{Duration, SystemTime};

use super::subject::Subject;
use super::{Case, Outcome, noise, same, same_bytes, text};
use crate::Times;

/// A length beyond a few chunks, blocks and pages, and a multiple of none.
const LONG: usize = 300_007;

pub(super) fn cases<S: Subject>() -> Vec<Case<S>> {
    vec![
        ("what is written is read back", read_back),
        ("what is written is there for others, and after a sync", other_users),
        ("a read ends at the end of the file", end_of_file),
        ("overwriting changes only the range", overwriting),
        ("appending in small pieces adds up", appending),
        ("a gap behind the end reads as zeros", gap),
        ("what was cut off does not come back", truncation),
        ("an emptied file is empty, and can be written again", emptying),
        ("a write of nothing changes nothing", empty_write),
        ("a copy moves bytes between files and within one", copying),
        ("readers at the same time read the same", readers),
        ("writers of different parts do not disturb each other", writers),
        ("writing and truncating move the time of change", changes_show),
        ("times that were set stay", times_stay),
    ]
}

fn read_back<S: Subject>(subject: &S) -> Outcome {
    for (name, bytes) in [("text", text(1, LONG)), ("noise", noise(1, LONG))] {
        let file = subject.create(name)?;
        subject.write(&file, 0, &bytes)?;
        same_bytes(&subject.read(&file, 0, LONG)?, &bytes, name)?;
        subject.disturb();
        same_bytes(&subject.read(&file, 0, LONG)?, &bytes, name)?;
        let (from, to) = (65_000, 200_001);
        let part = subject.read(&file, from as u64, to - from)?;
        same_bytes(&part, &bytes[from..to], "a part")?;
    }
    Ok(())
}

fn other_users<S: Subject>(subject: &S) -> Outcome {
    let bytes = text(2, LONG);
    let writer = subject.create("file")?;
    subject.write(&writer, 0, &bytes)?;
    subject.sync(&writer)?;
    drop(writer);
    subject.disturb();
    same!(subject.stat_name("file")?.size, LONG as u64, "size by name");
    let reader = subject.open("file")?;
    same!(subject.stat(&reader)?.size, LONG as u64, "size by file");
    same_bytes(&subject.read(&reader, 0, LONG)?, &bytes, "another user")
}

fn end_of_file<S: Subject>(subject: &S) -> Outcome {
    let bytes = text(3, 10_000);
    let file = subject.create("file")?;
    same_bytes(&subject.read(&file, 0, 10)?, &[], "an empty file")?;
    subject.write(&file, 0, &bytes)?;
    for _ in 0..2 {
        same_bytes(&subject.read(&file, 9_990, 100)?, &bytes[9_990..], "across the end")?;
        same_bytes(&subject.read(&file, 10_000, 100)?, &[], "at the end")?;
        same_bytes(&subject.read(&file, 1 << 40, 100)?, &[], "far behind the end")?;
        subject.disturb();
    }
    Ok(())
}

fn overwriting<S: Subject>(subject: &S) -> Outcome {
    let mut bytes = text(4, LONG);
    let file = subject.create("file")?;
    subject.write(&file, 0, &bytes)?;
    for (round, at) in [0, 4_090, 131_000, 262_143, LONG - 5_000].into_iter().enumerate() {
        subject.disturb();
        let new = noise(round as u64 + 1, 5_000);
        bytes[at..at + new.len()].copy_from_slice(&new);
        subject.write(&file, at as u64, &new)?;
        same_bytes(&subject.read(&file, 0, LONG + 1)?, &bytes, "after overwriting")?;
    }
    subject.disturb();
    same_bytes(&subject.read(&file, 0, LONG + 1)?, &bytes, "at the end")
}

fn appending<S: Subject>(subject: &S) -> Outcome {
    let bytes = text(5, LONG);
    let file = subject.create("file")?;
    for (number, piece) in bytes.chunks(7_777).enumerate() {
        subject.write(&file, (number * 7_777) as u64, piece)?;
        if number % 9 == 0 {
            subject.disturb();
        }
    }
    same!(subject.stat(&file)?.size, LONG as u64, "size");
    same_bytes(&subject.read(&file, 0, LONG + 1)?, &bytes, "all pieces")
}

fn gap<S: Subject>(subject: &S) -> Outcome {
    let file = subject.create("file")?;
    let mut bytes = text(6, 5_000);
    subject.write(&file, 0, &bytes)?;
    for end in [20_000, 140_001, 500_000] {
        subject.disturb();
        bytes.resize(end, 0);
        bytes.extend_from_slice(b"behind the gap");
        subject.write(&file, end as u64, b"behind the gap")?;
        same_bytes(&subject.read(&file, 0, bytes.len() + 1)?, &bytes, "with gap")?;
    }
    subject.disturb();
    same_bytes(&subject.read(&file, 0, bytes.len() + 1)?, &bytes, "at the end")
}

fn truncation<S: Subject>(subject: &S) -> Outcome {
    let file = subject.create("file")?;
    let mut bytes = text(7, LONG);
    subject.write(&file, 0, &bytes)?;
    for (cut, extended) in [(150_000, 290_000), (131_072, 131_073), (4_097, 200_000), (1, 5_000)] {
        subject.disturb();
        bytes.truncate(cut);
        subject.set_len(&file, cut as u64)?;
        same_bytes(&subject.read(&file, 0, LONG)?, &bytes, "cut")?;
        bytes.resize(extended, 0);
        subject.set_len(&file, extended as u64)?;
        same!(subject.stat(&file)?.size, extended as u64, "size after extension");
        same_bytes(&subject.read(&file, 0, LONG)?, &bytes, "extended")?;
    }
    subject.disturb();
    same_bytes(&subject.read(&file, 0, LONG)?, &bytes, "at the end")
}

fn emptying<S: Subject>(subject: &S) -> Outcome {
    let file = subject.create("file")?;
    for round in 0..3 {
        let bytes = text(round + 8, LONG - round as usize * 100_000);
        subject.write(&file, 0, &bytes)?;
        subject.disturb();
        same_bytes(&subject.read(&file, 0, LONG)?, &bytes, "written")?;
        subject.set_len(&file, 0)?;
        same!(subject.stat(&file)?.size, 0, "size when empty");
        same_bytes(&subject.read(&file, 0, LONG)?, &[], "empty")?;
        subject.disturb();
    }
    Ok(())
}

fn empty_write<S: Subject>(subject: &S) -> Outcome {
    let file = subject.create("file")?;
    subject.write(&file, 100, &[])?;
    same!(subject.stat(&file)?.size, 0, "size");
    Ok(())
}

fn copying<S: Subject>(subject: &S) -> Outcome {
    let bytes = text(11, LONG);
    let source = subject.create("source")?;
    let target = subject.create("target")?;
    subject.write(&source, 0, &bytes)?;
    subject.disturb();
    copy_all(subject, (&source, 1_000), (&target, 0), LONG as u64)?;
    same_bytes(&subject.read(&target, 0, LONG)?, &bytes[1_000..], "another file")?;
    // Within one file, ranges must not overlap.
    copy_all(subject, (&source, 0), (&source, LONG as u64), 100_000)?;
    let mut doubled = bytes;
    doubled.extend_from_within(..100_000);
    subject.disturb();
    same_bytes(&subject.read(&source, 0, 2 * LONG)?, &doubled, "the same file")
}

/// Copies until all is copied, or the source ends.
fn copy_all<S: Subject>(
    subject: &S,
    (source, from): (&S::File, u64),
    (target, to): (&S::File, u64),
    len: u64,
) -> Outcome {
    let mut done = 0;
    while done < len {
        match subject.copy((source, from + done), (target, to + done), len - done)? {
            0 => break,
            copied => done += copied,
        }
    }
    Ok(())
}

fn readers<S: Subject>(subject: &S) -> Outcome {
    let bytes = text(12, LONG);
    let file = subject.create("file")?;
    subject.write(&file, 0, &bytes)?;
    std::thread::scope(|scope| {
        let reader = |start: usize| {
            let (file, bytes) = (&file, &bytes);
            move || -> Outcome {
                for at in (start..LONG).step_by(40_009) {
                    let part = subject.read(file, at as u64, 9_000)?;
                    same_bytes(&part, &bytes[at..LONG.min(at + 9_000)], "a reader")?;
                }
                Ok(())
            }
        };
        let readers: Vec<_> = (0..4).map(|number| scope.spawn(reader(number * 977))).collect();
        subject.disturb();
        readers.into_iter().try_for_each(|reader| reader.join().expect("no panic in a reader"))
    })
}

fn writers<S: Subject>(subject: &S) -> Outcome {
    const PART: usize = 100_000;
    let file = subject.create("file")?;
    let parts: Vec<Vec<u8>> = (0..4).map(|number| text(20 + number, PART)).collect();
    std::thread::scope(|scope| {
        let writer = |number: usize| {
            let (file, part) = (&file, &parts[number]);
            move || -> Outcome {
                for (piece, data) in part.chunks(3_333).enumerate() {
                    subject.write(file, (number * PART + piece * 3_333) as u64, data)?;
                }
                Ok(())
            }
        };
        let writers: Vec<_> = (0..4).map(|number| scope.spawn(writer(number))).collect();
        subject.disturb();
        writers.into_iter().try_for_each(|writer| writer.join().expect("no panic in a writer"))
    })?;
    subject.disturb();
    same_bytes(&subject.read(&file, 0, 5 * PART)?, &parts.concat(), "all parts")
}

/// Sleeps until clocks of file systems have moved on.
fn wait_for_clock() {
    std::thread::sleep(Duration::from_millis(25));
}

fn changes_show<S: Subject>(subject: &S) -> Outcome {
    let file = subject.create("file")?;
    subject.write(&file, 0, &text(13, 10_000))?;
    subject.disturb();
    let changed = |what: &str, change: &dyn Fn() -> crate::Result<()>| -> Outcome {
        let before = subject.stat(&file)?.modified;
        wait_for_clock();
        change()?;
        same!(subject.stat(&file)?.modified > before, true, "the time moved by {what}");
        Ok(())
    };
    changed("writing", &|| subject.write(&file, 5, b"new"))?;
    changed("cutting", &|| subject.set_len(&file, 9_000))?;
    changed("extending", &|| subject.set_len(&file, 9_500))?;
    changed("truncating to the same length", &|| subject.set_len(&file, 9_500))?;
    let before = subject.stat(&file)?.modified;
    wait_for_clock();
    subject.read(&file, 0, 10_000)?;
    subject.disturb();
    same!(subject.stat(&file)?.modified, before, "the time after reading");
    Ok(())
}

fn times_stay<S: Subject>(subject: &S) -> Outcome {
    let file = subject.create("file")?;
    subject.write(&file, 0, &text(14, 50_000))?;
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_007, 123_456_000);
    subject.set_times(&file, &Times { accessed: time, modified: time })?;
    for what in ["at once", "after a sync", "after more work"] {
        same!(subject.stat(&file)?.modified, time, "the time {what}");
        same!(subject.stat_name("file")?.modified, time, "the time by name {what}");
        subject.sync(&file)?;
        subject.disturb();
    }
    Ok(())
}
