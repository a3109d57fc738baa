//! Shows each user only what they may use: a name is there for its owner, and for those who may read it or search
//! it. Others neither find nor list it.

use std::ffi::OsStr;
use std::sync::Arc;

use hsci_extension::{
    Attr, Call, Declaration, DirEntry, Entry, Environment, Errno, Error, Extension, Ino, Kernel,
    Layer, RenameFlags, Result, Stack,
};

/// The extension.
pub struct Hide {
    lower: Arc<Stack>,
    kernel: Arc<dyn Kernel>,
}

/// May read, or search.
const USE: u32 = 0o5;

impl Hide {
    fn shows(&self, call: &Call, attr: &Attr) -> bool {
        let may_use = |class: u32| attr.mode >> class & USE != 0;
        call.anonymous
            || call.uid == 0
            || call.uid == attr.uid
            || may_use(0)
            || may_use(3) && (call.gid == attr.gid || self.kernel.groups(call).contains(&attr.gid))
    }

    /// True if there is such a name and the caller must not learn of it.
    fn hides(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<bool> {
        match self.lower.lookup(&Call::internal(), parent, name) {
            Ok(entry) => {
                self.lower.forget(entry.ino, 1);
                Ok(!self.shows(call, &entry.attr))
            }
            Err(Error::Lower(Errno::NOENT)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lets nobody make or replace a name that they do not see: it is taken, by whom is not said.
    fn refuse_hidden(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<()> {
        if self.hides(call, parent, name)? { Err(Errno::ACCESS.into()) } else { Ok(()) }
    }
}

impl Layer for Hide {
    fn lower(&self) -> &Stack {
        &*self.lower
    }

    fn lookup(&self, call: &Call, parent: Ino, name: &OsStr) -> Result<Entry> {
        let entry = self.lower.lookup(call, parent, name)?;
        if self.shows(call, &entry.attr) {
            return Ok(entry);
        }
        self.lower.forget(entry.ino, 1);
        Err(Errno::NOENT.into())
    }

    fn readdir(
        &self,
        call: &Call,
        ino: Ino,
        mut cookie: u64,
        budget: usize,
    ) -> Result<Vec<DirEntry>> {
        loop {
            let mut listed = self.lower.readdir(call, ino, cookie, budget)?;
            let Some(last) = listed.last() else { return Ok(listed) };
            cookie = last.next;
            // What is gone meanwhile is listed: a lookup says so.
            listed.retain(|entry| {
                entry.name == "."
                    || entry.name == ".."
                    || !self.hides(call, ino, &entry.name).unwrap_or(true)
            });
            // An empty answer would be the end.
            if !listed.is_empty() {
                return Ok(listed);
            }
        }
    }

    fn mknod(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32, rdev: u64) -> Result<Entry> {
        self.refuse_hidden(call, parent, name)?;
        self.lower.mknod(call, parent, name, mode, rdev)
    }

    fn mkdir(&self, call: &Call, parent: Ino, name: &OsStr, mode: u32) -> Result<Entry> {
        self.refuse_hidden(call, parent, name)?;
        self.lower.mkdir(call, parent, name, mode)
    }

    fn symlink(&self, call: &Call, parent: Ino, name: &OsStr, target: &OsStr) -> Result<Entry> {
        self.refuse_hidden(call, parent, name)?;
        self.lower.symlink(call, parent, name, target)
    }

    fn link(&self, call: &Call, ino: Ino, parent: Ino, name: &OsStr) -> Result<Entry> {
        self.refuse_hidden(call, parent, name)?;
        self.lower.link(call, ino, parent, name)
    }

    fn rename(
        &self,
        call: &Call,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        flags: RenameFlags,
    ) -> Result<()> {
        self.refuse_hidden(call, to.0, to.1)?;
        self.lower.rename(call, from, to, flags)
    }
}

impl Extension for Hide {
    const NAME: &'static str = "hide";
    const ABOUT: &'static str = "shows each user only what they may use; an example";
    const FORMAT_VERSION: u32 = 0;

    fn declaration() -> Declaration {
        Declaration::new().names_differ()
    }

    fn start(environment: &Environment) -> Result<Arc<Stack>> {
        let (lower, kernel) = (Arc::clone(&environment.lower), Arc::clone(&environment.kernel));
        Ok(Arc::new(Self { lower, kernel }))
    }
}

#[cfg(test)]
mod tests {
    use hsci_extension::testkit::{self, MemoryTree, conformance};

    use super::*;

    #[test]
    fn it_conforms_for_one_user_and_for_two() {
        let tree = MemoryTree::new();
        let layer = testkit::start::<Hide>(&tree, &[]).expect("start");
        assert_eq!(conformance::check(&*layer), []);
        let users = [Call::new(1000, 1000, 0), Call::new(1001, 1001, 0)];
        for (user, name) in users.iter().zip(["alices", "bobs"]) {
            let file = layer.mknod(user, Ino::ROOT, name.as_ref(), 0o100_600, 0).expect("a file");
            layer.forget(file.ino, 1);
        }
        let seen = conformance::names_as(&*layer, &users).expect("each sees what is listed");
        assert_eq!(seen, [vec!["alices"], vec!["bobs"]]);
        let taken = layer.mknod(&users[1], Ino::ROOT, "alices".as_ref(), 0o100_600, 0);
        assert_eq!(taken.map(drop), Err(Errno::ACCESS.into()));
        assert_eq!(tree.known_inodes(), 0, "inodes that are kept for nothing");
    }
}
