//! What a store says of itself: the file `.hsci/store`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use hsci_extension::{Error, RESERVED_NAME};
use hsci_protocol::describe::Description;
use hsci_protocol::mount::MountOption;
use rustix::fs::{OFlags, renameat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::failure::{Exit, Failure};
use crate::place::{Owners, Private, Refused};

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
    pub(crate) fn of(keepers: Vec<Keeper>, given: &[MountOption]) -> Option<Self> {
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

    pub(crate) fn read_in(private: &Private) -> Result<Option<Self>, Failure> {
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

    /// Leaves the formats as they are found of those that [bring them forward](Description::brings_forward)
    /// themselves.
    pub(crate) fn with_formats_of(mut self, found: &Self, stack: &[Description]) -> Self {
        let waits = |name: &str| stack.iter().any(|one| one.name == name && one.brings_forward);
        for (keeper, found) in self.keepers_mut().zip(found.keepers()) {
            if waits(&keeper.extension) {
                keeper.format = found.format;
            }
        }
        self
    }

    fn keepers_mut(&mut self) -> impl Iterator<Item = &mut Keeper> {
        std::iter::once(&mut self.top).chain(&mut self.below)
    }

    /// Programs of older formats than this one of the extension leave the store alone from now on; durable on return.
    pub(crate) fn bring_forward(
        lower: BorrowedFd<'_>,
        extension: &str,
        format: u32,
    ) -> hsci_extension::Result<()> {
        let private = Private::open(lower, Owners::Own)?;
        let found =
            Self::read_in(&private).map_err(|failure| Error::Broken(failure.to_string()))?;
        let Some(mut file) = found else { return Ok(()) };
        let is_older =
            |keeper: &&mut Keeper| keeper.extension == extension && keeper.format < format;
        let Some(keeper) = file.keepers_mut().find(is_older) else { return Ok(()) };
        keeper.format = format;
        Ok(file.write(lower, &private)?)
    }

    /// Writes the file; durable on return.
    pub(crate) fn write(&self, lower: BorrowedFd<'_>, private: &Private) -> Result<(), Refused> {
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

pub(crate) fn unusable(refused: Refused) -> Failure {
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
    use std::os::fd::OwnedFd;

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
    fn an_older_store_waits_for_who_brings_it_forward() {
        let dir = tempfile::tempdir().expect("directory");
        let lower = lower(&dir);
        let private = Private::create(lower.as_fd()).expect("made");
        let older = StoreFile::of(stack(&[("versions", 1), ("xor", 1)]), &[]).expect("a store");
        older.write(lower.as_fd(), &private).expect("written");
        let describe = |name: &str, brings_forward| Description {
            name: name.to_owned(),
            format: 2,
            brings_forward,
            ..Description::default()
        };
        let programs = [describe("versions", false), describe("xor", true)];
        let newer = StoreFile::of(keepers(&programs), &[]).expect("a store");
        let formats = |store: &StoreFile| (store.top.format, store.below[0].format);
        assert_eq!(formats(&newer.with_formats_of(&older, &programs)), (2, 1));
        for (extension, format, wanted) in
            [("none", 9, (1, 1)), ("xor", 2, (1, 2)), ("xor", 1, (1, 2)), ("versions", 3, (3, 2))]
        {
            StoreFile::bring_forward(lower.as_fd(), extension, format).expect("brought forward");
            let found = StoreFile::read(&lower).expect("read").expect("a store");
            assert_eq!(formats(&found), wanted, "{extension}: {format}");
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
}
