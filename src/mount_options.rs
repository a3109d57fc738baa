//! Options given with `-o`: which of them are mount(8)'s, and which are for us.

use rustix::mount::MountFlags;

use crate::Result;
use hsci_host::failure::{Exit, Failure};

/// Options with `-o`, sorted by who understands them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountOptions {
    /// What the kernel does for every file system.
    pub(crate) flags: MountFlags,
    /// Those of them that were turned off by name.
    pub(crate) allowed: MountFlags,
    /// A mount that is there is to be changed.
    pub(crate) remount: bool,
    /// Extensions named by `extension=NAME`, the topmost first.
    pub(crate) extensions: Vec<String>,
    /// The rest, for the host and the extension: names and values, in order.
    pub(crate) own: Vec<(String, String)>,
}

/// An option of mount(8), the flag that it concerns, and whether it sets it.
const GENERIC: [(&str, MountFlags, bool); 19] = [
    ("ro", MountFlags::RDONLY, true),
    ("rw", MountFlags::RDONLY, false),
    ("nosuid", MountFlags::NOSUID, true),
    ("suid", MountFlags::NOSUID, false),
    ("nodev", MountFlags::NODEV, true),
    ("dev", MountFlags::NODEV, false),
    ("noexec", MountFlags::NOEXEC, true),
    ("exec", MountFlags::NOEXEC, false),
    ("sync", MountFlags::SYNCHRONOUS, true),
    ("async", MountFlags::SYNCHRONOUS, false),
    ("dirsync", MountFlags::DIRSYNC, true),
    ("noatime", MountFlags::NOATIME, true),
    ("atime", MountFlags::NOATIME, false),
    ("nodiratime", MountFlags::NODIRATIME, true),
    ("diratime", MountFlags::NODIRATIME, false),
    ("relatime", MountFlags::RELATIME, true),
    ("norelatime", MountFlags::RELATIME, false),
    ("strictatime", MountFlags::STRICTATIME, true),
    ("nostrictatime", MountFlags::STRICTATIME, false),
];

/// Words in fstab that address mount(8), systemd or an administrator, and options that are always
/// in force here.
const IGNORED: [&str; 22] = [
    "",
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "nofail",
    "_netdev",
    "silent",
    "loud",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "allow_other",
    "default_permissions",
];

impl MountOptions {
    /// Sorts options as mount(8) passes them: texts of names and values, separated by commas.
    pub(crate) fn parse(texts: &[String]) -> Result<Self> {
        let (none, nobody) = (MountFlags::empty(), Vec::new());
        let (extensions, own) = (nobody, Vec::new());
        let mut options = Self { flags: none, allowed: none, remount: false, extensions, own };
        for option in texts.iter().flat_map(|text| text.split(',')) {
            options.add(option)?;
        }
        Ok(options)
    }

    fn add(&mut self, option: &str) -> Result<()> {
        if let Some(&(_, flag, on)) = GENERIC.iter().find(|(name, ..)| *name == option) {
            self.flags.set(flag, on);
            self.allowed.set(flag, !on);
            return Ok(());
        }
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            _ if IGNORED.contains(&name) => {}
            "comment" => {}
            _ if name.starts_with("x-") || name.starts_with("X-") => {}
            "remount" => self.remount = true,
            "bind" | "move" => {
                let text = format!(
                    "option `{name}`: not possible with a mount of hsci; unmount it and mount it anew"
                );
                return Err(Failure::new(Exit::Usage, text));
            }
            "extension" => self.extensions.push(value.to_owned()),
            _ => self.own.push((name.to_owned(), value.to_owned())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> MountOptions {
        MountOptions::parse(&[text.to_owned()]).expect("valid options")
    }

    #[test]
    fn options_go_to_who_understands_them() {
        let options =
            parse("rw,nosuid,noauto,user,x-systemd.automount,_netdev,algorithm=zstd:9,scan");
        assert_eq!(options.flags, MountFlags::NOSUID);
        let own = [("algorithm", "zstd:9"), ("scan", "")];
        assert_eq!(options.own, own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(
            parse("extension=audit,extension=compressfs").extensions,
            ["audit", "compressfs"]
        );
    }

    #[test]
    fn the_last_of_two_opposites_holds() {
        assert_eq!(parse("ro,noatime,rw").flags, MountFlags::NOATIME);
        assert_eq!(parse("dev,suid,nodev").flags, MountFlags::NODEV);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let failure = MountOptions::parse(&["move,ro".to_owned()]).expect_err("refused");
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.text.contains("move"));
    }
}
