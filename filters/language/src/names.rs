//! What a policy's names mean on a machine, behind a trait so that tests need no machine.

use std::collections::BTreeMap;

/// Answers what names mean. Lists are for hints and may be incomplete.
pub trait Names {
    /// The id of a user.
    fn user(&self, name: &str) -> Option<u32>;
    /// The id of a group.
    fn group(&self, name: &str) -> Option<u32>;
    /// True if there is an executable file of that absolute path.
    fn executable(&self, path: &[u8]) -> bool;
    /// Where a directory's path leads through symbolic links; nothing if there are none on it, or no directory.
    fn behind_links(&self, directory: &[u8]) -> Option<Vec<u8>> {
        let _ = directory;
        None
    }
    /// True if there is an extension of that name.
    fn extension(&self, name: &str) -> bool;
    /// Checks an option that a target or a rule gives to an extension.
    fn option(
        &self,
        extension: &str,
        key: &str,
        value: &str,
        scope: OptionScope,
    ) -> Result<(), OptionFault>;
    /// Names of users.
    fn users(&self) -> Vec<String>;
    /// Names of groups.
    fn groups(&self) -> Vec<String>;
    /// Names of extensions.
    fn extensions(&self) -> Vec<String>;
    /// Globs of all home directories, which `$home` stands for.
    fn homes(&self) -> Vec<String> {
        ["/home/*", "/root"].map(str::to_owned).to_vec()
    }
}

/// What an option is given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionScope {
    /// The whole target.
    Target,
    /// Single calls.
    Call,
}

/// What is wrong with an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionFault {
    /// The extension has none of that name; what it has.
    Unknown(Vec<String>),
    /// It holds for a whole target; what rules may set.
    Fixed(Vec<String>),
    /// The value is not allowed, with the reason.
    Value(String),
}

/// Names from tables, for tests and for policies that are written for another machine.
#[derive(Clone, Debug, Default)]
pub struct FixedNames {
    /// Users with their ids.
    pub users: BTreeMap<String, u32>,
    /// Groups with their ids.
    pub groups: BTreeMap<String, u32>,
    /// Absolute paths of executables.
    pub executables: Vec<String>,
    /// Symbolic links, and the directories that they lead to.
    pub links: BTreeMap<String, String>,
    /// Extensions with their options, and the values each takes; an empty list takes any.
    pub extensions: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

impl Names for FixedNames {
    fn user(&self, name: &str) -> Option<u32> {
        self.users.get(name).copied()
    }

    fn group(&self, name: &str) -> Option<u32> {
        self.groups.get(name).copied()
    }

    fn executable(&self, path: &[u8]) -> bool {
        self.executables.iter().any(|known| known.as_bytes() == path)
    }

    fn behind_links(&self, directory: &[u8]) -> Option<Vec<u8>> {
        let found = self.links.iter().find(|(link, _)| link.as_bytes() == directory);
        found.map(|(_, real)| real.clone().into_bytes())
    }

    fn extension(&self, name: &str) -> bool {
        self.extensions.contains_key(name)
    }

    fn option(
        &self,
        extension: &str,
        key: &str,
        value: &str,
        _: OptionScope,
    ) -> Result<(), OptionFault> {
        let Some(options) = self.extensions.get(extension) else { return Ok(()) };
        let Some(values) = options.get(key) else {
            return Err(OptionFault::Unknown(options.keys().cloned().collect()));
        };
        if values.is_empty() || values.iter().any(|known| known == value) {
            return Ok(());
        }
        Err(OptionFault::Value(format!("must be one of: {}", values.join(", "))))
    }

    fn users(&self) -> Vec<String> {
        self.users.keys().cloned().collect()
    }

    fn groups(&self) -> Vec<String> {
        self.groups.keys().cloned().collect()
    }

    fn extensions(&self) -> Vec<String> {
        self.extensions.keys().cloned().collect()
    }
}

/// Words of other languages and tools, and what they are called here.
const SYNONYMS: &[(&str, &str)] = &[
    ("allow", "pass"),
    ("permit", "pass"),
    ("accept", "pass"),
    ("block", "deny"),
    ("reject", "deny"),
    ("forbid", "deny"),
    ("log", "audit"),
    ("report", "audit"),
    ("uid", "user"),
    ("gid", "group"),
    ("program", "exe"),
    ("command", "comm"),
    ("attributes", "metadata"),
    ("delete", "remove"),
    ("execute", "exec"),
    ("stat", "getattr"),
    ("list", "readdir"),
];

/// The known word that was probably meant.
pub(crate) fn similar<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.collect();
    let synonym = SYNONYMS.iter().find(|(other, _)| *other == word);
    if let Some((_, here)) = synonym.filter(|(_, here)| known.contains(here)) {
        return Some(here);
    }
    let known = known.into_iter();
    let scored = known.map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(score, _)| *score > 0.8).map(|(_, candidate)| candidate)
}
