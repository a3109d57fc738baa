//! Which store a mount is given: that of its extensions, and of no other host.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use hsci_protocol::describe::Description;
use hsci_protocol::mount::{Job, MountOption, MountRequest};
use rustix::io::Errno;

use super::is_read_only;
use crate::failure::{Exit, Failure};
use crate::lock::{self, Last};
use crate::place::{self, Owners, Private, Refused};
use crate::store_file::{StoreFile, keepers, unusable};

/// Makes sure that the store in a directory, if it is to have one, belongs to the stack's extensions, and that
/// these get the options that it was made with. The host's own part of it must be of the host's own making.
///
/// Returns the request with these options, and the lock of the store; `admit` is asked about who has had it before.
pub(super) fn claim(
    lower: &OwnedFd,
    job: &Job,
    admit: &dyn Fn(&Last) -> Result<(), Failure>,
) -> Result<(MountRequest, Option<OwnedFd>), Failure> {
    let claimed = claim_for(&described(job)?, lower, &job.request, admit);
    let (options, lock) = claimed.map_err(|failure| failure.of(&job.request.lower))?;
    Ok((MountRequest { options, ..job.request.clone() }, lock))
}

fn claim_for(
    stack: &[Description],
    lower: &OwnedFd,
    request: &MountRequest,
    admit: &dyn Fn(&Last) -> Result<(), Failure>,
) -> Result<(Vec<MountOption>, Option<OwnedFd>), Failure> {
    let keepers = keepers(stack);
    let (given, read_only) = (request.options.clone(), is_read_only(request));
    let private = match Private::open(lower.as_fd(), Owners::Own) {
        Ok(private) => Some(private),
        Err(Refused::Errno(Errno::NOENT)) if read_only || keepers.is_empty() => None,
        Err(Refused::Errno(Errno::NOENT)) => {
            let made = Private::create(lower.as_fd());
            Some(made.map_err(|refused| refused_in(refused, &request.lower))?)
        }
        Err(refused) => return Err(refused_in(refused, &request.lower)),
    };
    let Some(private) = private else { return Ok((given, None)) };
    // What is refused is not touched: a lock says who has it.
    if let Some(found) = StoreFile::read_in(&private)? {
        found.admit(&keepers, given.clone())?;
    }
    let lock = lock::take_store(&private, read_only, &request.lower, admit)?;
    let found = StoreFile::read_in(&private)?;
    let options = match &found {
        Some(found) => found.admit(&keepers, given)?,
        None => given,
    };
    if let Some(mut wanted) = StoreFile::of(keepers, &options) {
        if let Some(found) = &found {
            wanted = wanted.with_formats_of(found, stack);
        }
        // What is written from now on is not for older programs.
        if !read_only && found.as_ref() != Some(&wanted) {
            wanted.write(lower.as_fd(), &private).map_err(unusable)?;
        }
    }
    Ok((options, lock))
}

/// A mount hides its own store, and lets nobody make another one in it.
fn refused_in(refused: Refused, lower: &Path) -> Failure {
    match (&refused, place::mount_containing(lower)) {
        (Refused::Errno(Errno::PERM), Ok(Some(mounted))) => {
            let text = format!(
                "lies in the mount of {}, where no store can be; mount that with these extensions \
                 above its own (--extension), or name another directory",
                mounted.lower.display()
            );
            Failure::new(Exit::Impossible, text)
        }
        _ => unusable(refused),
    }
}

/// What the program says of the stack's extensions, the topmost first.
fn described(job: &Job) -> Result<Vec<Description>, Failure> {
    let names = &job.request.extensions;
    let fail = |reason: &str| {
        let text = format!("extension `{}`: {}: {reason}", names[0], job.program.display());
        Failure::new(Exit::Internal, text)
    };
    let mut command = Command::new(&job.program);
    command.arg("describe").stdin(Stdio::null());
    let output = command.output().map_err(|error| fail(&error.to_string()))?;
    if !output.status.success() {
        return Err(fail(&format!("it does not describe itself ({})", output.status)));
    }
    let held: Vec<Description> =
        serde_json::from_slice(&output.stdout).map_err(|error| fail(&error.to_string()))?;
    check_contract(&held).map_err(|reason| fail(&reason))?;
    let describe = |name: &String| held.iter().find(|description| description.name == *name);
    // One that is not there is refused by the worker, which says what there is.
    Ok(names.iter().filter_map(describe).cloned().collect())
}

/// A program that was built for a newer contract may rely on what this host does not do.
pub fn check_contract(held: &[Description]) -> Result<(), String> {
    let known = hsci_extension::VERSION;
    match held.iter().find(|one| one.contract > known) {
        None => Ok(()),
        Some(newer) => Err(format!(
            "it was built for version {} of the contract, and this hsci knows {known}: install a newer hsci",
            newer.contract
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_for_a_newer_contract_is_refused_with_the_way_out() {
        let mut held = vec![Description { contract: 0, ..Description::default() }];
        held.push(Description { contract: hsci_extension::VERSION, ..Description::default() });
        assert_eq!(check_contract(&held), Ok(()));
        held.push(Description { contract: hsci_extension::VERSION + 1, ..Description::default() });
        let refused = check_contract(&held).expect_err("newer");
        assert!(refused.ends_with("install a newer hsci"), "{refused}");
    }
}
