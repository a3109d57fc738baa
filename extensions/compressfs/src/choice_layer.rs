//! The layer above the content: the names under which users say and ask which algorithm is used.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use hsci_extension::content::NOTICES;
use hsci_extension::{
    Call, ContentFs, Errno, Error, FileKind, Ino, Layer, Result, Stack, XattrFlags,
};

use hsci_protocol::compression::{Choice, ChoiceSource, GeneralChoices};

use crate::ALGORITHM;
use crate::algorithm::Algorithm;
use crate::choice::{self, ATTRIBUTE, Choices, Origin};
use crate::compress::Compress;
use crate::notices::Notices;

/// An algorithm, and whose choice it is.
type Ruling = (Algorithm, Origin);

/// Extended attributes that begin like this belong to the store; [`ATTRIBUTE`] alone is for users.
const PRIVATE: &[u8] = b"user.hsci.";

/// Wraps the content layer.
pub(crate) struct ChoiceLayer {
    pub(crate) below: Arc<ContentFs<Compress>>,
    pub(crate) choices: Arc<Choices>,
    /// What the option of the mount says.
    pub(crate) mount: Algorithm,
    pub(crate) notices: Arc<Notices>,
}

fn is_private(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PRIVATE) && name != ATTRIBUTE
}

fn reserved(name: &OsStr) -> Error {
    Error::Reserved(name.to_string_lossy().into_owned())
}

impl ChoiceLayer {
    /// Choices are for the owner, who need not be allowed to write the file.
    fn check_owner(&self, call: &Call, ino: Ino) -> Result<()> {
        if call.uid == 0 || self.lower().getattr(call, ino)?.uid == call.uid {
            return Ok(());
        }
        Err(Error::NotPermitted("only the owner or root chooses the algorithm".to_owned()))
    }

    fn attribute(&self, ino: Ino) -> Result<Option<Algorithm>> {
        match self.lower().getxattr(&Call::internal(), ino, OsStr::new(ATTRIBUTE)) {
            Ok(value) => choice::parse(&value).map(Some),
            Err(Error::NoAttribute | Error::Lower(Errno::NODATA | Errno::OPNOTSUPP)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What rules for all that the caller writes.
    fn choice_of(&self, call: &Call) -> Result<Option<(Algorithm, Origin)>> {
        choice::decide(|origin| Ok(self.said_of(call, origin)))
    }

    /// What policy and user say, wherever the caller writes.
    fn said_of(&self, call: &Call, origin: Origin) -> Option<Algorithm> {
        match origin {
            Origin::Policy => call.option(ALGORITHM).and_then(|text| text.parse().ok()),
            Origin::User => self.choices.of(call.uid),
            Origin::File | Origin::Directory | Origin::Stored => None,
        }
    }

    /// What would rule for a file, or for a new file in a directory, that the caller writes; and the
    /// inode whose attribute says so.
    fn choice_for(&self, call: &Call, ino: Ino) -> Result<(Option<Ruling>, Option<Ino>)> {
        let is_directory = self.lower().getattr(call, ino)?.kind == FileKind::Directory;
        let mut place = None;
        let choice = choice::decide(|origin| match origin {
            Origin::File if !is_directory => {
                place = Some(ino);
                self.attribute(ino)
            }
            Origin::Directory => {
                let found = self.nearest_directory(ino, is_directory)?;
                place = found.map(|(_, at)| at);
                Ok(found.map(|(algorithm, _)| algorithm))
            }
            origin => Ok(self.said_of(call, origin)),
        })?;
        Ok((choice, place))
    }

    /// The nearest directory above an inode that says something, or itself.
    fn nearest_directory(&self, ino: Ino, or_itself: bool) -> Result<Option<(Algorithm, Ino)>> {
        let mut at = ino;
        let mut counts = or_itself;
        loop {
            if counts && let Some(algorithm) = self.attribute(at)? {
                return Ok(Some((algorithm, at)));
            }
            if at == Ino::ROOT {
                return Ok(None);
            }
            (at, counts) = match self.lower().parent(at) {
                Ok((parent, _)) => (parent, true),
                // An unlinked file has no directory above it.
                Err(Error::Lower(_)) => return Ok(None),
                Err(error) => return Err(error),
            };
        }
    }

    /// A choice as it is shown.
    fn shown(&self, choice: Option<(Algorithm, Origin)>, place: Option<String>) -> Choice {
        let (algorithm, origin) = choice.unzip();
        let from = match origin {
            Some(Origin::File) => ChoiceSource::File,
            Some(Origin::Directory) => ChoiceSource::Directory,
            Some(Origin::Policy) => ChoiceSource::Policy,
            Some(Origin::User) => ChoiceSource::User,
            Some(Origin::Stored) | None => ChoiceSource::Mount,
        };
        Choice { algorithm: algorithm.unwrap_or(self.mount).to_string(), from, place }
    }

    /// The path of an inode below the root of the mount.
    fn path(&self, ino: Ino) -> String {
        let mut names: Vec<OsString> = Vec::new();
        let mut at = ino;
        while at != Ino::ROOT {
            let Ok((parent, name)) = self.lower().parent(at) else {
                break;
            };
            names.push(name);
            at = parent;
        }
        let path: std::path::PathBuf = names.iter().rev().collect();
        path.to_string_lossy().into_owned()
    }
}

impl Layer for ChoiceLayer {
    fn lower(&self) -> &Stack {
        &*self.below
    }

    fn setxattr(
        &self,
        call: &Call,
        ino: Ino,
        name: &OsStr,
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<()> {
        if is_private(name) {
            return Err(reserved(name));
        }
        if name != ATTRIBUTE {
            return self.lower().setxattr(call, ino, name, value, flags);
        }
        self.check_owner(call, ino)?;
        let algorithm = choice::parse(value)?.to_string();
        self.lower().setxattr(call, ino, name, algorithm.as_bytes(), flags)
    }

    fn getxattr(&self, call: &Call, ino: Ino, name: &OsStr) -> Result<Vec<u8>> {
        if is_private(name) {
            return Err(Error::NoAttribute);
        }
        self.lower().getxattr(call, ino, name)
    }

    fn listxattr(&self, call: &Call, ino: Ino) -> Result<Vec<OsString>> {
        let mut names = self.lower().listxattr(call, ino)?;
        names.retain(|name| !is_private(name));
        Ok(names)
    }

    fn removexattr(&self, call: &Call, ino: Ino, name: &OsStr) -> Result<()> {
        if is_private(name) {
            return Err(reserved(name));
        }
        if name == ATTRIBUTE {
            self.check_owner(call, ino)?;
        }
        self.lower().removexattr(call, ino, name)
    }

    fn control_get(&self, call: &Call, ino: Ino, name: &str) -> Result<Vec<u8>> {
        let answer = match name {
            "algorithm" => serde_json::to_vec(&self.shown(self.choice_of(call)?, None)),
            "algorithm-of" => {
                let (choice, place) = self.choice_for(call, ino)?;
                let place = place.map(|place| self.path(place));
                serde_json::to_vec(&self.shown(choice, place))
            }
            "choices" => {
                let users = self.choices.visible_to(call.uid);
                serde_json::to_vec(&GeneralChoices { mount: self.mount.to_string(), users })
            }
            NOTICES if call.anonymous => {
                let mut notices = self.notices.list();
                if let Ok(below) = self.lower().control_get(call, ino, NOTICES) {
                    notices
                        .extend(serde_json::from_slice::<Vec<String>>(&below).unwrap_or_default());
                }
                serde_json::to_vec(&notices)
            }
            _ => return self.lower().control_get(call, ino, name),
        };
        Ok(answer.expect("numbers and texts are JSON"))
    }

    fn control_set(&self, call: &Call, ino: Ino, name: &str, value: &[u8]) -> Result<()> {
        match name {
            "algorithm" if value.is_empty() || value == b"default" => {
                self.choices.set(call.uid, None)
            }
            "algorithm" => self.choices.set(call.uid, Some(choice::parse(value)?)),
            _ => self.lower().control_set(call, ino, name, value),
        }
    }
}
