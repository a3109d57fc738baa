//! Several callers at one directory, each of whom may see other names.

use std::ffi::OsString;

use super::{Broken, Failure, Outcome, same};
use crate::{Call, Error, FileSystem, Ino};

const CASE: &str = "what a caller is shown is what the caller finds, whoever looked before";

/// Whether each caller finds in the root what the listing shows, and nothing else that is shown to another; also
/// after all others have looked. Returns the names that each is shown, sorted.
pub fn names_as(layer: &dyn FileSystem, callers: &[Call]) -> Result<Vec<Vec<OsString>>, Failure> {
    let shown = callers.iter().map(|call| listed(layer, call)).collect::<Result<Vec<_>, _>>();
    let shown = shown.map_err(|Broken(text)| Failure { case: CASE, text })?;
    for _ in 0..2 {
        for (call, own) in callers.iter().zip(&shown) {
            for name in shown.iter().flatten() {
                finds(layer, call, name, own.contains(name))
                    .map_err(|Broken(text)| Failure { case: CASE, text })?;
            }
        }
    }
    Ok(shown)
}

fn listed(layer: &dyn FileSystem, call: &Call) -> Result<Vec<OsString>, Broken> {
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        // A small budget: listings go on where they stopped.
        let part = layer.readdir(call, Ino::ROOT, cookie, 64)?;
        let Some(last) = part.last() else { break };
        cookie = last.next;
        names.extend(part.into_iter().map(|entry| entry.name));
    }
    names.retain(|name| name != "." && name != "..");
    names.sort();
    Ok(names)
}

fn finds(layer: &dyn FileSystem, call: &Call, name: &OsString, wanted: bool) -> Outcome {
    let found = match layer.lookup(call, Ino::ROOT, name) {
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
