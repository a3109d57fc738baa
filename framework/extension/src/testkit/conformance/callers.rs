//! Several callers at one directory, each of whom may see other names.

use std::ffi::{OsStr, OsString};

use super::{Broken, Failure, Outcome, same};
use crate::{Call, Error, FileSystem, Ino};

const CASE: &str = "what a caller is shown is what the caller finds, whoever looked before";

/// Whether each caller finds in the root what the listing shows, and nothing else that is shown to another; also
/// after all others have looked. Returns the names that each is shown, sorted.
pub fn names_as(layer: &dyn FileSystem, callers: &[Call]) -> Result<Vec<Vec<OsString>>, Failure> {
    names_in(layer, Ino::ROOT, callers).map_err(|Broken(text)| Failure { case: CASE, text })
}

/// The case with two users who make names in one directory: what they may see of each other's is the layer's to say.
pub(super) fn two_users(layer: &dyn FileSystem, disturb: &dyn Fn()) -> Option<Failure> {
    made_by_two(layer, disturb).err().map(|Broken(text)| Failure { case: CASE, text })
}

fn made_by_two(layer: &dyn FileSystem, disturb: &dyn Fn()) -> Outcome {
    const DIRECTORY: &str = "case-callers";
    let root = Call::new(0, 0, 0);
    let directory = layer.mkdir(&root, Ino::ROOT, OsStr::new(DIRECTORY), 0o1777)?.ino;
    let users = [1000, 1001].map(|id| Call::new(id, id, 0));
    let names = |user: &Call| {
        [("private", 0o600), ("public", 0o644)]
            .map(|(name, mode)| (OsString::from(format!("{name}-{}", user.uid)), mode))
    };
    for user in &users {
        for (name, mode) in names(user) {
            let made = layer.mknod(user, directory, &name, 0o100_000 | mode, 0)?;
            layer.forget(made.ino, 1);
            finds(layer, directory, user, &name, true)?;
            disturb();
        }
    }
    names_in(layer, directory, &users)?;
    for (name, _) in users.iter().flat_map(names) {
        layer.unlink(&root, directory, &name)?;
    }
    layer.rmdir(&root, Ino::ROOT, OsStr::new(DIRECTORY))?;
    layer.forget(directory, 1);
    Ok(())
}

fn names_in(
    layer: &dyn FileSystem,
    directory: Ino,
    callers: &[Call],
) -> Result<Vec<Vec<OsString>>, Broken> {
    let listed = |call| listed(layer, directory, call);
    let shown = callers.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
    for _ in 0..2 {
        for (call, own) in callers.iter().zip(&shown) {
            for name in shown.iter().flatten() {
                finds(layer, directory, call, name, own.contains(name))?;
            }
        }
    }
    Ok(shown)
}

fn listed(layer: &dyn FileSystem, directory: Ino, call: &Call) -> Result<Vec<OsString>, Broken> {
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        // A small budget: listings go on where they stopped.
        let part = layer.readdir(call, directory, cookie, 64)?;
        let Some(last) = part.last() else { break };
        cookie = last.next;
        names.extend(part.into_iter().map(|entry| entry.name));
    }
    names.retain(|name| name != "." && name != "..");
    names.sort();
    Ok(names)
}

fn finds(
    layer: &dyn FileSystem,
    directory: Ino,
    call: &Call,
    name: &OsStr,
    wanted: bool,
) -> Outcome {
    let found = match layer.lookup(call, directory, name) {
        Ok(entry) => {
            layer.forget(entry.ino, 1);
            true
        }
        Err(Error::Lower(crate::Errno::NOENT)) => false,
        Err(error) => return Err(error.into()),
    };
    same!(found, wanted, "{} looked up by user {}", name.display(), call.uid);
    Ok(())
}
