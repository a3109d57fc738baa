//! What the names in a policy mean on this machine.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hsci_host::place;
use hsci_language::glob;
use hsci_language::names::{Names, OptionFault, OptionScope};
use hsci_protocol::describe::{Description, OptionDescription};
use nix::unistd::{Group, User, getgrouplist};
use rustix::fs::{FileType, Statx};

use crate::extension_program;

/// Users, groups, executables and extensions of this machine. Each is looked up once.
#[derive(Default)]
pub(super) struct MachineNames {
    users: RefCell<HashMap<String, Option<u32>>>,
    groups: RefCell<HashMap<String, Option<u32>>>,
    /// Where servers would be asked about paths, which may not answer.
    served: OnceCell<Vec<PathBuf>>,
    /// Where paths lead through symbolic links.
    links: RefCell<HashMap<Vec<u8>, Option<Vec<u8>>>>,
    /// Options of each extension; nothing if its program does not say.
    options: RefCell<HashMap<String, Option<Vec<OptionDescription>>>>,
    /// What is wrong with values: extension, option, value.
    values: RefCell<HashMap<[String; 3], Option<String>>>,
}

impl MachineNames {
    pub(super) fn new() -> Self {
        Self::default()
    }
}

impl Names for MachineNames {
    fn user(&self, name: &str) -> Option<u32> {
        let find = |name: &str| Some(User::from_name(name).ok()??.uid.as_raw());
        *self.users.borrow_mut().entry(name.to_owned()).or_insert_with_key(|name| find(name))
    }

    fn group(&self, name: &str) -> Option<u32> {
        let find = |name: &str| Some(Group::from_name(name).ok()??.gid.as_raw());
        *self.groups.borrow_mut().entry(name.to_owned()).or_insert_with_key(|name| find(name))
    }

    fn executable(&self, path: &[u8]) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        let Ok(place) = place::look(path) else { return false };
        let is_program = |stat: Statx| {
            let mode = stat.stx_mode;
            FileType::from_raw_mode(mode.into()) == FileType::RegularFile && mode & 0o111 != 0
        };
        // The kernel knows programs by their own paths, and not by those of links.
        place.path() == path && place.stat().is_ok_and(is_program)
    }

    fn behind_links(&self, directory: &[u8]) -> Option<Vec<u8>> {
        let served = self.served.get_or_init(served_places);
        if served.iter().any(|place| Path::new(OsStr::from_bytes(directory)).starts_with(place)) {
            return None;
        }
        let find = |path: &[u8]| {
            let path = Path::new(OsStr::from_bytes(path));
            let place = place::look(path).ok()?;
            (place.path() != path).then(|| place.path().as_os_str().as_bytes().to_owned())
        };
        let mut links = self.links.borrow_mut();
        links.entry(directory.to_owned()).or_insert_with_key(|path| find(path)).clone()
    }

    fn extension(&self, name: &str) -> bool {
        extension_program::find(name).is_ok()
    }

    fn option(
        &self,
        extension: &str,
        key: &str,
        value: &str,
        scope: OptionScope,
    ) -> Result<(), OptionFault> {
        let mut options = self.options.borrow_mut();
        let known = options.entry(extension.to_owned()).or_insert_with_key(|name| described(name));
        let Some(known) = known else { return Ok(()) };
        let names = |wanted: &dyn Fn(&OptionDescription) -> bool| {
            known.iter().filter(|one| wanted(one)).map(|one| one.name.clone()).collect()
        };
        match known.iter().find(|option| option.name == key) {
            None if scope == OptionScope::Call => {
                Err(OptionFault::Unknown(names(&|one| one.by_call)))
            }
            None => Err(OptionFault::Unknown(names(&|_| true))),
            Some(option) if scope == OptionScope::Call && !option.by_call => {
                Err(OptionFault::Fixed(names(&|one| one.by_call)))
            }
            Some(_) => {
                let asked = [extension, key, value].map(str::to_owned);
                let mut values = self.values.borrow_mut();
                match values.entry(asked).or_insert_with_key(value_fault) {
                    Some(why) => Err(OptionFault::Value(why.clone())),
                    None => Ok(()),
                }
            }
        }
    }

    fn users(&self) -> Vec<String> {
        first_fields("/etc/passwd")
    }

    fn groups(&self) -> Vec<String> {
        first_fields("/etc/group")
    }

    fn homes(&self) -> Vec<String> {
        let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        homes(&text)
    }

    fn extensions(&self) -> Vec<String> {
        extension_program::names().into_iter().collect()
    }
}

/// Where file systems lie that ask a server about each name.
fn served_places() -> Vec<PathBuf> {
    const SERVED: [&str; 8] = ["fuse", "nfs", "cifs", "smb", "9p", "ceph", "afs", "autofs"];
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let place = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let is_served = SERVED.iter().any(|kind| file_system.starts_with(kind));
        let place = mount.split(' ').nth(4).filter(|_| is_served)?;
        let place = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
            .iter()
            .fold(place.to_owned(), |text, (escape, byte)| text.replace(escape, byte));
        Some(PathBuf::from(place))
    };
    table.lines().filter_map(place).collect()
}

/// The options of an extension, as its program describes them.
fn described(name: &str) -> Option<Vec<OptionDescription>> {
    let held: Vec<Description> = extension_program::answer(name, &["describe"])?;
    Some(held.into_iter().find(|description| description.name == name)?.options)
}

/// What an extension's program finds wrong with a value.
fn value_fault([extension, option, value]: &[String; 3]) -> Option<String> {
    extension_program::value_fault(extension, option, value)
}

/// The names in a file of lines such as `name:x:1000:`. Only hints come from it.
fn first_fields(path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split(':').next());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Users from this id on are people, as on most machines.
const FIRST_PERSON: u32 = 1000;
/// This one and those after it are nobody.
const NOBODY: u32 = 65534;

/// Globs of the home directories of root and of people, those of whom there is no account yet included.
fn homes(accounts: &str) -> Vec<String> {
    let home = |line: &str| -> Option<String> {
        let mut fields = line.split(':').skip(2);
        let (uid, home) = (fields.next()?.parse::<u32>().ok()?, fields.nth(2)?);
        let home = home.trim_end_matches('/');
        let is_meant = uid == 0 || (FIRST_PERSON..NOBODY).contains(&uid);
        let below_home = home.strip_prefix("/home/").is_some_and(|name| !name.contains('/'));
        (is_meant && home.starts_with('/') && !below_home).then(|| glob::escape(home.as_bytes()))
    };
    let mut homes = vec!["/home/*".to_owned()];
    homes.extend(accounts.lines().filter_map(home));
    homes.sort();
    homes.dedup();
    homes
}

/// The groups of a user, by number.
pub(super) fn groups_of(uid: u32) -> Vec<u32> {
    let Ok(Some(user)) = User::from_uid(uid.into()) else { return Vec::new() };
    let name = CString::new(user.name).unwrap_or_default();
    let groups = getgrouplist(&name, user.gid).unwrap_or_else(|_| vec![user.gid]);
    groups.into_iter().map(nix::unistd::Gid::as_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_those_of_people_and_of_accounts_to_come() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nmail:x:8:8::/var/mail:/bin/false\n\
                        a:x:1000:1000::/home/a:/bin/sh\nb:x:1001:1001::/srv/b*c/:/bin/sh\n\
                        c:x:1002:1002::/:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\n";
        assert_eq!(homes(accounts), ["/home/*", "/root", "/srv/b\\*c"]);
    }
}
