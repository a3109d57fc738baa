//! Names, and files that lose theirs.

use super::subject::Subject;
use super::{Case, Outcome, same, same_bytes, text};
use crate::{Errno, RenameFlags, Result};

const LEN: usize = 150_000;

pub(super) fn cases<S: Subject>() -> Vec<Case<S>> {
    vec![
        ("a name that is taken cannot be made again", taken),
        ("a renamed file stays in use", renaming),
        ("a file may be renamed over another in use", replacing),
        ("renaming may refuse to replace, and may exchange", rename_flags),
        ("an unlinked file can be used until it is forgotten", unlinking),
        ("hard links are one file", linking),
        ("a listing gives each name once", listing),
    ]
}

fn errno<T>(done: Result<T>) -> Option<Errno> {
    done.err().map(|error| error.errno())
}

fn taken<S: Subject>(subject: &S) -> Outcome {
    let file = subject.create("name")?;
    subject.write(&file, 0, b"first")?;
    same!(errno(subject.create("name")), Some(Errno::EXIST), "the second");
    same!(errno(subject.open("other")), Some(Errno::NOENT), "a name that is not there");
    same_bytes(&subject.read(&file, 0, 10)?, b"first", "the first")
}

fn renaming<S: Subject>(subject: &S) -> Outcome {
    let bytes = text(1, LEN);
    let file = subject.create("before")?;
    subject.write(&file, 0, &bytes[..LEN / 2])?;
    subject.disturb();
    subject.rename("before", "after", RenameFlags::empty())?;
    subject.write(&file, LEN as u64 / 2, &bytes[LEN / 2..])?;
    subject.disturb();
    same!(errno(subject.open("before")), Some(Errno::NOENT), "the old name");
    same!(subject.stat_name("after")?, subject.stat(&file)?, "attributes by the new name");
    same_bytes(&subject.read(&subject.open("after")?, 0, LEN + 1)?, &bytes, "by the new name")
}

fn replacing<S: Subject>(subject: &S) -> Outcome {
    let (old, new) = (text(2, LEN), text(3, LEN));
    let victim = subject.create("name")?;
    subject.write(&victim, 0, &old)?;
    let file = subject.create("temporary")?;
    subject.write(&file, 0, &new)?;
    subject.disturb();
    subject.rename("temporary", "name", RenameFlags::empty())?;
    subject.disturb();
    same_bytes(&subject.read(&subject.open("name")?, 0, LEN + 1)?, &new, "the new file")?;
    same_bytes(&subject.read(&victim, 0, LEN + 1)?, &old, "the old file, still in use")?;
    same!(subject.stat(&victim)?.nlink, 0, "links of the old file");
    Ok(())
}

fn rename_flags<S: Subject>(subject: &S) -> Outcome {
    for name in ["one", "two"] {
        let file = subject.create(name)?;
        subject.write(&file, 0, name.as_bytes())?;
    }
    let refused = subject.rename("one", "two", RenameFlags::NOREPLACE);
    same!(errno(refused), Some(Errno::EXIST), "a rename that must not replace");
    subject.rename("one", "two", RenameFlags::EXCHANGE)?;
    subject.disturb();
    same_bytes(&subject.read(&subject.open("one")?, 0, 10)?, b"two", "one")?;
    same_bytes(&subject.read(&subject.open("two")?, 0, 10)?, b"one", "two")
}

fn unlinking<S: Subject>(subject: &S) -> Outcome {
    let mut bytes = text(4, LEN);
    let file = subject.create("name")?;
    subject.write(&file, 0, &bytes)?;
    subject.unlink("name")?;
    subject.disturb();
    same!(errno(subject.open("name")), Some(Errno::NOENT), "the name");
    same_bytes(&subject.read(&file, 0, LEN + 1)?, &bytes, "unlinked")?;
    bytes[1_000..2_000].fill(b'n');
    subject.write(&file, 1_000, &bytes[1_000..2_000])?;
    subject.disturb();
    same_bytes(&subject.read(&file, 0, LEN + 1)?, &bytes, "written when unlinked")?;
    // The name is free for another file.
    let other = subject.create("name")?;
    same_bytes(&subject.read(&other, 0, LEN)?, &[], "a new file of that name")?;
    same!(subject.stat(&file)?.size, LEN as u64, "size of the unlinked file");
    Ok(())
}

fn linking<S: Subject>(subject: &S) -> Outcome {
    let mut bytes = text(5, LEN);
    let one = subject.create("one")?;
    subject.write(&one, 0, &bytes)?;
    subject.disturb();
    subject.link("one", "two")?;
    let two = subject.open("two")?;
    same!(subject.stat(&one)?, subject.stat_name("two")?, "attributes by both names");
    same!(subject.stat(&two)?.nlink, 2, "links");
    bytes.truncate(100_000);
    subject.set_len(&one, 100_000)?;
    bytes[0] = b'!';
    subject.write(&two, 0, b"!")?;
    subject.unlink("one")?;
    drop(one);
    subject.disturb();
    same!(subject.stat(&two)?.nlink, 1, "links that are left");
    same_bytes(&subject.read(&two, 0, LEN)?, &bytes, "by the other name")
}

fn listing<S: Subject>(subject: &S) -> Outcome {
    let mut names: Vec<String> = (0..100).map(|number| format!("name-{number:03}")).collect();
    for name in &names {
        drop(subject.create(name)?);
    }
    for gone in names.drain(40..60) {
        subject.unlink(&gone)?;
    }
    let mut listed = subject.list()?;
    listed.sort();
    same!(listed, names, "the names");
    Ok(())
}
