//! The layer above the content: the names under which users say and ask which algorithm is used.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use hsci_extension::{
    Call, ContentFs, Errno, Error, FileKind, FileSystem, Ino, Result, XattrFlags,
};

use hsci_protocol::compression::{Choice, ChoiceSource, GeneralChoices};

use super::Compress;
use crate::ALGORITHM;
use crate::algorithm::Algorithm;
use crate::choice::{self, ATTRIBUTE, Choices};

/// Extended attributes that begin like this belong to the store; [`ATTRIBUTE`] alone is for users.
const PRIVATE: &[u8] = b"user.hsci.";

/// Wraps the content layer.
pub(crate) struct ChoiceLayer {
    pub(crate) below: Arc<ContentFs<Compress>>,
    pub(crate) choices: Arc<Choices>,
    /// What the option of the mount says.
    pub(crate) mount: Algorithm,
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
    fn choice_of(&self, call: &Call) -> (Algorithm, ChoiceSource) {
        let ruled = call.option(ALGORITHM).and_then(|text| text.parse().ok());
        match (ruled, self.choices.of(call.uid)) {
            (Some(algorithm), _) => (algorithm, ChoiceSource::Policy),
            (None, Some(algorithm)) => (algorithm, ChoiceSource::User),
            (None, None) => (self.mount, ChoiceSource::Mount),
        }
    }

    /// What would rule for a file, or for a new file in a directory, that the caller writes.
    fn choice_for(&self, call: &Call, ino: Ino) -> Result<(Algorithm, ChoiceSource, Option<Ino>)> {
        let mut at = ino;
        loop {
            if let Some(algorithm) = self.attribute(at)? {
                let is_file = self.lower().getattr(call, at)?.kind != FileKind::Directory;
                let from = if is_file { ChoiceSource::File } else { ChoiceSource::Directory };
                return Ok((algorithm, from, Some(at)));
            }
            if at == Ino::ROOT {
                break;
            }
            match self.lower().parent(at) {
                Ok((parent, _)) => at = parent,
                // An unlinked file has no directory above it.
                Err(Error::Lower(_)) => break,
                Err(error) => return Err(error),
            }
        }
        let (algorithm, from) = self.choice_of(call);
        Ok((algorithm, from, None))
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

impl FileSystem for ChoiceLayer {
    fn lower(&self) -> &dyn FileSystem {
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
            "algorithm" => {
                let (algorithm, from) = self.choice_of(call);
                serde_json::to_vec(&Choice { algorithm: algorithm.to_string(), from, place: None })
            }
            "algorithm-of" => {
                let (algorithm, from, place) = self.choice_for(call, ino)?;
                let place = place.map(|place| self.path(place));
                serde_json::to_vec(&Choice { algorithm: algorithm.to_string(), from, place })
            }
            "choices" => {
                let users = self.choices.visible_to(call.uid);
                serde_json::to_vec(&GeneralChoices { mount: self.mount.to_string(), users })
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
