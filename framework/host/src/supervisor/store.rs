//! What a store says of itself: the file `.hsci/store`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

use hsci_extension::RESERVED_NAME;
use hsci_protocol::describe::Description;
use hsci_protocol::mount::Job;
use rustix::fs::{OFlags, renameat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::is_read_only;
use crate::failure::{Exit, Failure};
use crate::lock;
use crate::place::{Owners, Private, Refused};

const NAME: &str = "store";
const NEW_NAME: &str = "store.new";
/// A longer file is not ours.
const MAX_LEN: u64 = 4096;

/// Which extension made a store, and in which version of its format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreFile {
    /// Name of the extension.
    pub extension: String,
    /// Version of its format.
    pub format: u32,
}

impl StoreFile {
    /// Reads the file of the store in a directory; `None` if there is no store. What it says may be
    /// the word of whoever owns the directory.
    pub fn read(lower: impl AsFd) -> Result<Option<Self>, Failure> {
        let lower = lower.as_fd();
        let owners = Owners::of(lower).map_err(|errno| unusable(errno.into()))?;
        match Private::open(lower, owners) {
            Ok(private) => Self::read_in(&private),
            Err(Refused::Errno(Errno::NOENT)) => Ok(None),
            Err(refused) => Err(unusable(refused)),
        }
    }

    fn read_in(private: &Private) -> Result<Option<Self>, Failure> {
        let file = match private.file(NAME, OFlags::RDONLY) {
            Ok(file) => File::from(file),
            Err(Refused::Errno(Errno::NOENT)) => return Ok(None),
            Err(refused) => return Err(unusable(refused)),
        };
        let mut text = String::new();
        file.take(MAX_LEN)
            .read_to_string(&mut text)
            .map_err(|error| damaged(&error.to_string()))?;
        serde_json::from_str(&text).map(Some).map_err(|error| damaged(&error.to_string()))
    }

    /// Refuses a store that the given extension cannot use.
    pub fn admit(&self, registration: &Self) -> Result<(), Failure> {
        let text = if self.extension != registration.extension {
            format!(
                "the store was made by the extension `{0}`, not by `{1}`; use --extension {0}",
                self.extension, registration.extension
            )
        } else if self.format > registration.format {
            format!(
                "the store has format {}, newer than {} of this `{}`; use a newer version",
                self.format, registration.format, registration.extension
            )
        } else {
            return Ok(());
        };
        Err(Failure::new(Exit::Store, text))
    }

    /// Writes the file; durable on return.
    fn write(&self, lower: BorrowedFd<'_>, private: &Private) -> Result<(), Refused> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let mut file = File::from(private.file(NEW_NAME, flags)?);
        let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let text = serde_json::to_vec(self).expect("a name and a number are valid JSON");
        file.write_all(&text).map_err(errno)?;
        file.sync_all().map_err(errno)?;
        renameat(private, NEW_NAME, private, NAME)?;
        rustix::fs::fsync(private)?;
        Ok(rustix::fs::fsync(lower)?)
    }
}

/// Makes sure that the store in a directory, if it is to have one, belongs to the stack's extension.
/// The host's own part of it must be of the host's own making.
///
/// Returns the lock of the store.
pub(super) fn claim(lower: &OwnedFd, job: &Job) -> Result<Option<OwnedFd>, Failure> {
    let Some(registration) = keeper(job)? else { return Ok(None) };
    let mut lock = None;
    let mut claim = || {
        let private = match Private::open(lower.as_fd(), Owners::Own) {
            Ok(private) => private,
            Err(Refused::Errno(Errno::NOENT)) if is_read_only(&job.request) => return Ok(()),
            Err(Refused::Errno(Errno::NOENT)) => {
                Private::create(lower.as_fd()).map_err(unusable)?
            }
            Err(refused) => return Err(unusable(refused)),
        };
        lock = lock::take_store(&private, is_read_only(&job.request), &job.request.lower)?;
        let write = || registration.write(lower.as_fd(), &private).map_err(unusable);
        match StoreFile::read_in(&private)? {
            Some(found) => found.admit(&registration).and_then(|()| {
                // What is written from now on is not for older programs.
                match found.format < registration.format && !is_read_only(&job.request) {
                    true => write(),
                    false => Ok(()),
                }
            }),
            None if is_read_only(&job.request) => Ok(()),
            None => write(),
        }
    };
    claim().map_err(|failure| failure.of(&job.request.lower))?;
    Ok(lock)
}

/// The first extension of the stack that stores something.
fn keeper(job: &Job) -> Result<Option<StoreFile>, Failure> {
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
    let keeper = names.iter().filter_map(describe).find(|description| description.format > 0);
    Ok(keeper.map(|keeper| StoreFile { extension: keeper.name.clone(), format: keeper.format }))
}

/// A program that was built for a newer contract may rely on what this host does not do.
fn check_contract(held: &[Description]) -> Result<(), String> {
    let known = hsci_extension::VERSION;
    match held.iter().find(|one| one.contract > known) {
        None => Ok(()),
        Some(newer) => Err(format!(
            "it was built for version {} of the contract, and this hsci knows {known}: install a newer hsci",
            newer.contract
        )),
    }
}

fn unusable(refused: Refused) -> Failure {
    let exit = match refused {
        Refused::Errno(Errno::ACCESS | Errno::PERM) => Exit::Impossible,
        Refused::Errno(_) => Exit::Internal,
        Refused::Foreign(text) => return Failure::new(Exit::Store, text),
    };
    Failure::new(exit, format!("{RESERVED_NAME}/{NAME}: {refused}"))
}

fn damaged(reason: &str) -> Failure {
    let text = format!(
        "{RESERVED_NAME}/{NAME}: damaged ({reason}); it must hold {{\"extension\":\"NAME\",\"format\":1}}"
    );
    Failure::new(Exit::Store, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lower(dir: &tempfile::TempDir) -> OwnedFd {
        OwnedFd::from(File::open(dir.path()).expect("open"))
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().expect("directory");
        let lower = lower(&dir);
        assert_eq!(StoreFile::read(&lower).expect("none"), None);
        let store = StoreFile { extension: "compressfs".to_owned(), format: 1 };
        let private = Private::create(lower.as_fd()).expect("made");
        store.write(lower.as_fd(), &private).expect("written");
        assert_eq!(StoreFile::read(&lower).expect("read"), Some(store));
    }

    #[test]
    fn stores_of_others_and_newer_ones_are_refused() {
        let registration = StoreFile { extension: "compressfs".to_owned(), format: 2 };
        let found = |extension: &str, format| StoreFile { extension: extension.to_owned(), format };
        assert!(found("compressfs", 1).admit(&registration).is_ok());
        for (store, word) in [(found("compressfs", 3), "format 3"), (found("xor", 1), "`xor`")] {
            let failure = store.admit(&registration).expect_err("refused");
            assert_eq!(failure.exit, Exit::Store);
            assert!(failure.text.contains(word), "{failure}");
        }
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().expect("directory");
        let lower = lower(&dir);
        std::fs::create_dir(dir.path().join(RESERVED_NAME)).expect("directory");
        for text in ["", "{\"extension\":", "[1]", "\u{0}"] {
            std::fs::write(dir.path().join(RESERVED_NAME).join(NAME), text).expect("written");
            let failure = StoreFile::read(&lower).expect_err(text);
            assert_eq!(failure.exit, Exit::Store, "{failure}");
        }
    }

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
