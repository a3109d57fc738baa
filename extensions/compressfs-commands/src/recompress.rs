//! `hsci recompress`.

use std::cell::RefCell;
use std::path::Path;

use hsci_command::walk::{Found, Walk};
use hsci_command::{Result, control, ui};
use hsci_host::failure::Failure;
use hsci_host::place;
use rustix::fs::{getxattr, removexattr};
use rustix::io::Errno;

use crate::algorithm::{ATTRIBUTE, set_for};
use crate::cli::Recompress;
use crate::settle;

/// Has one algorithm rule for a file or a whole directory, and what is stored otherwise stored by it.
pub(crate) fn run(args: &Recompress) -> Result<()> {
    let path = &args.path;
    let mounted = control::require_mount(path)?;
    let place = place::look(path)?;
    if attribute(&place.reach()) != Ok(Some(args.algorithm.clone().into_bytes())) {
        set_for(path, &args.algorithm)?;
    }
    let (taken_back, failure) = take_back_below(path);
    let settled = settle::wait(&mounted.dir);
    if taken_back > 0 {
        let choices = ui::counted(taken_back, "choice");
        ui::print(&format!("{}: {choices} below it taken back\n", path.display()))?;
    }
    settled.and(failure.map_or(Ok(()), Err))
}

/// The choice of a file or directory itself.
fn attribute(reach: &Path) -> Result<Option<Vec<u8>>, Errno> {
    match control::with_room(|buffer| getxattr(reach, ATTRIBUTE, buffer)) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Removes all choices below a directory. Returns how many there were, and the first that stays.
fn take_back_below(path: &Path) -> (u64, Option<Failure>) {
    let mut taken_back = 0;
    let first_failure = RefCell::new(None);
    let fail = |failure: Failure| {
        first_failure.borrow_mut().get_or_insert(failure);
    };
    let visit = |found: &Found<'_>| {
        if found.path == path {
            return;
        }
        match attribute(found.reach) {
            Ok(None) => {}
            Ok(Some(_)) => match removexattr(found.reach, ATTRIBUTE) {
                Ok(()) => taken_back += 1,
                Err(errno) => fail(control::of_path(found.path, errno)),
            },
            Err(errno) => fail(control::of_path(found.path, errno)),
        }
    };
    Walk::new(visit, fail).run(path);
    (taken_back, first_failure.into_inner())
}
