//! Who decides the algorithm: the file, else the nearest directory that says so, else a rule of the
//! policy in force, else the user who writes, else the mount.

use std::collections::BTreeMap;
use std::sync::Arc;

use hsci_extension::{Credentials, Errno, Error, Result, Store};
use parking_lot::{Mutex, RwLock};

use crate::algorithm::Algorithm;

/// The extended attribute with the choice of a file or of everything below a directory.
pub(crate) const ATTRIBUTE: &str = "user.hsci.algorithm";

const NAME: &str = "choices";
/// Where a repair keeps a file of choices that is damaged.
const DAMAGED_NAME: &str = "choices.damaged";
/// Where a new file of choices is written; it never counts under this name.
pub(crate) const NEW_NAME: &str = "choices.new";
/// A file of choices longer than this is not ours.
const MAX_LEN: u64 = 16 << 20;

/// Whose word it was, in the order of precedence. Where none of them says anything, the option of the
/// mount rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The file's own attribute.
    File,
    /// The attribute of a directory above the file.
    Directory,
    /// A rule of the policy in force.
    Policy,
    /// The choice of the user who writes the file.
    User,
    /// The form that the file has already, which nobody has objected to.
    Stored,
}

impl Origin {
    const ALL: [Self; 5] = [Self::File, Self::Directory, Self::Policy, Self::User, Self::Stored];
}

/// The first of all that say something, in their order; `None` where the mount's option rules.
pub(crate) fn decide(
    mut said: impl FnMut(Origin) -> Result<Option<Algorithm>>,
) -> Result<Option<(Algorithm, Origin)>> {
    for origin in Origin::ALL {
        if let Some(algorithm) = said(origin)? {
            return Ok(Some((algorithm, origin)));
        }
    }
    Ok(None)
}

/// Reads the value of [`ATTRIBUTE`] or of a control; the message names the value.
pub(crate) fn parse(value: &[u8]) -> Result<Algorithm> {
    let text = String::from_utf8_lossy(value);
    let text = text.trim_end_matches(['\0', '\n']);
    text.parse().map_err(|why| Error::Invalid(format!("algorithm `{text}`: {why}")))
}

/// The choices of users, kept in the store: one line `uid algorithm` for each.
pub(crate) struct Choices {
    store: Arc<dyn Store>,
    by_user: RwLock<BTreeMap<u32, Algorithm>>,
    /// Held while the file is rewritten, so that readers of `by_user` never wait for the disk.
    writing: Mutex<()>,
}

impl Choices {
    pub(crate) fn load(store: &Arc<dyn Store>) -> Result<Self> {
        let by_user = decode(&Self::read(store)?).collect::<Result<_>>()?;
        Ok(Self::new(store, by_user))
    }

    fn new(store: &Arc<dyn Store>, by_user: BTreeMap<u32, Algorithm>) -> Self {
        Self { store: Arc::clone(store), by_user: RwLock::new(by_user), writing: Mutex::new(()) }
    }

    /// The bytes of the file; none if it is missing.
    fn read(store: &Arc<dyn Store>) -> Result<Vec<u8>> {
        let file = match store.open(NAME, false) {
            Err(Error::Lower(Errno::NOENT)) => return Ok(Vec::new()),
            opened => opened?,
        };
        let len = file.len()?;
        if len > MAX_LEN {
            return Err(damaged("it is too long"));
        }
        let mut text = vec![0; len as usize];
        file.read_exact_at(0, &mut text)?;
        Ok(text)
    }

    /// The choices that can be read, which are the only ones from now on. What was lost, if something was: the
    /// file as it was is kept under another name.
    pub(crate) fn repair(store: &Arc<dyn Store>) -> Result<(Self, Option<String>)> {
        let text = match Self::read(store) {
            // So long a file is none of ours, and nothing of it counts.
            Err(Error::Damaged(_)) => vec![0xff],
            read => read?,
        };
        let (mut good, mut bad) = (BTreeMap::new(), 0);
        for line in decode(&text) {
            match line {
                Ok((user, algorithm)) => drop(good.insert(user, algorithm)),
                Err(_) => bad += 1,
            }
        }
        let choices = Self::new(store, BTreeMap::new());
        if bad == 0 {
            *choices.by_user.write() = good;
            return Ok((choices, None));
        }
        let text = format!(
            "{bad} lines cannot be read, {} choices of users are kept; the file as it was is `{DAMAGED_NAME}` beside it",
            good.len()
        );
        store.rename(NAME, DAMAGED_NAME)?;
        choices.write(good)?;
        Ok((choices, Some(text)))
    }

    pub(crate) fn of(&self, user: u32) -> Option<Algorithm> {
        self.by_user.read().get(&user).copied()
    }

    /// The choices that a user may see: root everybody's, others their own.
    pub(crate) fn visible_to(&self, user: u32) -> BTreeMap<u32, String> {
        let by_user = self.by_user.read();
        let visible = by_user.iter().filter(|(owner, _)| user == 0 || user == **owner);
        visible.map(|(owner, algorithm)| (*owner, algorithm.to_string())).collect()
    }

    /// Sets or clears a user's choice; durable on return.
    pub(crate) fn set(&self, user: u32, choice: Option<Algorithm>) -> Result<()> {
        let _writing = self.writing.lock();
        let mut next = self.by_user.read().clone();
        match choice {
            Some(algorithm) => next.insert(user, algorithm),
            None => next.remove(&user),
        };
        self.write(next)
    }

    /// Durable on return.
    fn write(&self, next: BTreeMap<u32, Algorithm>) -> Result<()> {
        let text = encode(&next);
        let file = self.store.open(NEW_NAME, true)?;
        file.set_len(0)?;
        file.write_at(Credentials::HOST, 0, text.as_bytes())?;
        file.sync(false)?;
        self.store.rename(NEW_NAME, NAME)?;
        self.store.sync_names()?;
        *self.by_user.write() = next;
        Ok(())
    }
}

fn encode(choices: &BTreeMap<u32, Algorithm>) -> String {
    choices.iter().map(|(user, algorithm)| format!("{user} {algorithm}\n")).collect()
}

/// A user and a choice for each line.
fn decode(text: &[u8]) -> impl Iterator<Item = Result<(u32, Algorithm)>> + '_ {
    let decode_line = |line: &[u8]| {
        let (user, algorithm) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        Some((user.parse().ok()?, algorithm.parse().ok()?))
    };
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(move |line| {
        let shown = String::from_utf8_lossy(line);
        decode_line(line).ok_or_else(|| damaged(&format!("the line `{shown}`")))
    })
}

fn damaged(why: &str) -> Error {
    Error::Damaged(format!("users' choices of algorithms (`{NAME}` in the store): {why}"))
}
