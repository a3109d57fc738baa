//! What a store says of itself: the file `.hsci/store`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use hsci_extension::RESERVED_NAME;
use hsci_protocol::describe::Description;
use hsci_protocol::mount::{Job, MountOption, MountRequest};
use rustix::fs::{OFlags, renameat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::is_read_only;
use crate::failure::{Exit, Failure};
use crate::lock::{self, Last};
use crate::place::{self, Owners, Private, Refused};

const NAME: &str = "store";
const NEW_NAME: &str = "store.new";
/// A longer file is not ours.
const MAX_LEN: u64 = 64 << 10;

/// An extension that stores something, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    /// Name of the extension.
    pub extension: String,
    /// Version of its format.
    pub format: u32,
    /// Values of the options without which what it stores cannot be read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// Which extensions made a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreFile {
    /// The topmost.
    #[serde(flatten)]
    pub top: Keeper,
    /// Those below it, from the top down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub below: Vec<Keeper>,
}

/// Those of a stack that store something, the topmost first, with the defaults of the options that matter.
pub(crate) fn keepers(stack: &[Description]) -> Vec<Keeper> {
    let keepers = stack.iter().filter(|description| description.format > 0);
    let keeper = |description: &Description| Keeper {
        extension: description.name.clone(),
        format: description.format,
        options: {
            let recorded = description.options.iter().filter(|option| option.recorded);
            recorded.map(|option| (option.name.clone(), option.default.clone())).collect()
        },
    };
    keepers.map(keeper).collect()
}

/// Names as after `--extension`.
fn listed(keepers: &[Keeper]) -> String {
    let names: Vec<_> = keepers.iter().map(|keeper| keeper.extension.as_str()).collect();
    names.join(",")
}

impl StoreFile {
    /// What a store is to say of itself that these extensions make; nothing if none of them stores anything.
    fn of(keepers: Vec<Keeper>, given: &[MountOption]) -> Option<Self> {
        let mut keepers = keepers.into_iter().map(|keeper| keeper.with(given));
        let top = keepers.next()?;
        Some(Self { top, below: keepers.collect() })
    }

    /// All extensions, the topmost first.
    #[must_use]
    pub fn keepers(&self) -> Vec<Keeper> {
        std::iter::once(&self.top).chain(&self.below).cloned().collect()
    }

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

    /// Refuses a stack that cannot use the store. Returns the options given, and those that the store keeps.
    pub(crate) fn admit(
        &self,
        stack: &[Keeper],
        mut given: Vec<MountOption>,
    ) -> Result<Vec<MountOption>, Failure> {
        let made = self.keepers();
        let fail = |text| Err(Failure::new(Exit::Store, text));
        if listed(&made) != listed(stack) {
            let word = if made.len() > 1 { "extensions" } else { "extension" };
            let instead = match stack {
                [] => "a stack that stores nothing".to_owned(),
                _ => format!("`{}`", listed(stack)),
            };
            let made = listed(&made);
            return fail(format!(
                "the store was made by the {word} `{made}`, not by {instead}; use --extension {made}"
            ));
        }
        for (found, own) in made.iter().zip(stack) {
            if found.format > own.format {
                return fail(format!(
                    "the store has format {}, newer than {} of this `{}`; use a newer version",
                    found.format, own.format, own.extension
                ));
            }
            for (name, value) in &found.options {
                let differs =
                    |option: &&MountOption| option.0 == *name && spelt(option, value) != value;
                if let Some(other) = given.iter().find(differs) {
                    return fail(format!(
                        "the store was made with `{name}={value}`, not with `{name}={}`; leave the option out, \
                         or `hsci export` the files and store them anew",
                        other.1
                    ));
                }
                given.retain(|option| option.0 != *name);
                given.push(MountOption(name.clone(), value.clone()));
            }
        }
        Ok(given)
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

impl Keeper {
    /// The same with options that are given.
    fn with(mut self, given: &[MountOption]) -> Self {
        for option in given {
            if let Some(value) = self.options.get_mut(&option.0) {
                *value = spelt(option, value).to_owned();
            }
        }
        self
    }
}

/// The value of an option; the bare name of one that is `yes` or `no` means `yes`.
fn spelt<'a>(option: &'a MountOption, known: &str) -> &'a str {
    let is_bare = option.1.is_empty() && matches!(known, "yes" | "no");
    if is_bare { "yes" } else { &option.1 }
}

/// Makes sure that the store in a directory, if it is to have one, belongs to the stack's extensions, and that
/// these get the options that it was made with. The host's own part of it must be of the host's own making.
///
/// Returns the request with these options, and the lock of the store; `admit` is asked about who has had it before.
pub(super) fn claim(
    lower: &OwnedFd,
    job: &Job,
    admit: &dyn Fn(&Last) -> Result<(), Failure>,
) -> Result<(MountRequest, Option<OwnedFd>), Failure> {
    let keepers = keepers(&described(job)?);
    let claimed = claim_for(keepers, lower, &job.request, admit);
    let (options, lock) = claimed.map_err(|failure| failure.of(&job.request.lower))?;
    Ok((MountRequest { options, ..job.request.clone() }, lock))
}

fn claim_for(
    keepers: Vec<Keeper>,
    lower: &OwnedFd,
    request: &MountRequest,
    admit: &dyn Fn(&Last) -> Result<(), Failure>,
) -> Result<(Vec<MountOption>, Option<OwnedFd>), Failure> {
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
    if let Some(wanted) = StoreFile::of(keepers, &options) {
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
        "{RESERVED_NAME}/{NAME}: damaged ({reason}); it must hold {{\"extension\":\"NAME\",\"format\":1}}, with \"below\" for a stack"
    );
    Failure::new(Exit::Store, text)
}

#[cfg(test)]
mod tests {
    use hsci_protocol::describe::{OptionDescription, ValueKind};

    use super::*;

    fn lower(dir: &tempfile::TempDir) -> OwnedFd {
        OwnedFd::from(File::open(dir.path()).expect("open"))
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().expect("directory");
        let lower = lower(&dir);
        assert_eq!(StoreFile::read(&lower).expect("none"), None);
        let key = |value: &str| MountOption("key".to_owned(), value.to_owned());
        let store = StoreFile::of(stack(&[("versions", 2), ("xor", 1)]), &[key("17")]);
        let store = store.expect("they store something");
        assert_eq!(store.below[0].options["key"], "17");
        let private = Private::create(lower.as_fd()).expect("made");
        store.write(lower.as_fd(), &private).expect("written");
        assert_eq!(StoreFile::read(&lower).expect("read"), Some(store));
    }

    /// A stack as programs describe it; `xor` has an option that matters.
    fn stack(names: &[(&str, u32)]) -> Vec<Keeper> {
        let option = || OptionDescription {
            name: "key".to_owned(),
            help: String::new(),
            default: "90".to_owned(),
            by_call: false,
            kind: ValueKind::Plain,
            recorded: true,
        };
        let describe = |&(name, format): &(&str, u32)| Description {
            name: name.to_owned(),
            format,
            options: if name == "xor" { vec![option()] } else { Vec::new() },
            ..Description::default()
        };
        keepers(&names.iter().map(describe).collect::<Vec<_>>())
    }

    #[test]
    fn stores_of_others_and_newer_ones_are_refused() {
        let made = [("versions", 1), ("compressfs", 2)];
        let store = StoreFile::of(stack(&made), &[]).expect("a store");
        let admitted = |names: &[(&str, u32)]| store.admit(&stack(names), Vec::new());
        assert!(admitted(&made).is_ok());
        assert!(
            admitted(&[("hide", 0), made[0], ("audit", 0), made[1]]).is_ok(),
            "they store nothing"
        );
        assert!(admitted(&[("versions", 2), made[1]]).is_ok(), "newer programs read older stores");
        for (names, word) in [
            (&[made[0]][..], "--extension versions,compressfs"),
            (&[made[1]], "not by `compressfs`"),
            (&[made[1], made[0]], "not by `compressfs,versions`"),
            (&[made[0], made[1], ("xor", 1)], "not by `versions,compressfs,xor`"),
            (&[made[0], ("compressfs", 1)], "format 2, newer than 1 of this `compressfs`"),
        ] {
            let failure = admitted(names).expect_err("refused");
            assert_eq!(failure.exit, Exit::Store);
            assert!(failure.text.contains(word), "{failure}");
        }
    }

    #[test]
    fn options_that_matter_are_those_that_the_store_was_made_with() {
        let given = |value: &str| vec![MountOption("key".to_owned(), value.to_owned())];
        let stack = stack(&[("xor", 1)]);
        let store = StoreFile::of(stack.clone(), &given("17")).expect("a store");
        assert_eq!(store.admit(&stack, Vec::new()), Ok(given("17")));
        assert_eq!(store.admit(&stack, given("17")), Ok(given("17")));
        let refused = store.admit(&stack, given("90")).expect_err("another one");
        assert!(refused.text.contains("`key=17`, not with `key=90`"), "{refused}");
        let text = serde_json::to_string(&store).expect("JSON");
        assert_eq!(text, r#"{"extension":"xor","format":1,"options":{"key":"17"}}"#);
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
