//! Mounts that end with their owner.

use std::path::{Path, PathBuf};

use crate::command::Done;
use crate::{Run, machine};

/// A mount made by the real `hsci`, unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    program: PathBuf,
    lower: PathBuf,
    dir: PathBuf,
    extension: String,
    options: String,
    mounted: bool,
}

impl Mount {
    /// Mounts `NAME.lower` at `NAME` below `base`, making both where they are missing.
    #[must_use]
    pub fn new(base: &Path, name: &str, extension: &str, options: &str) -> Self {
        Self::by(&machine::hsci(), base, name, extension, options)
    }

    /// The same by a certain `hsci`.
    #[must_use]
    pub fn by(program: &Path, base: &Path, name: &str, extension: &str, options: &str) -> Self {
        let dirs = [format!("{name}.lower"), name.to_owned()].map(|name| base.join(name));
        for path in &dirs {
            std::fs::create_dir_all(path).expect("directories of a mount");
        }
        let [lower, dir] = dirs;
        let (extension, options) = (extension.to_owned(), options.to_owned());
        let program = program.to_owned();
        let mut mount = Self { program, lower, dir, extension, options, mounted: false };
        mount.mount();
        mount
    }

    /// Mounts `lower` at `dir`. No options are an empty text.
    #[must_use]
    pub fn at(lower: &Path, dir: &Path, extension: &str, options: &str) -> Self {
        let (lower, dir) = (lower.to_owned(), dir.to_owned());
        let (extension, options) = (extension.to_owned(), options.to_owned());
        let program = machine::hsci();
        let mut mount = Self { program, lower, dir, extension, options, mounted: false };
        mount.mount();
        mount
    }

    /// A mount that was made by other means.
    #[must_use]
    pub fn adopt(lower: &Path, dir: &Path, extension: &str) -> Self {
        let (lower, dir, extension) = (lower.to_owned(), dir.to_owned(), extension.to_owned());
        let (program, options) = (machine::hsci(), String::new());
        Self { program, lower, dir, extension, options, mounted: true }
    }

    /// Where the files appear.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where they are stored.
    #[must_use]
    pub fn lower(&self) -> &Path {
        &self.lower
    }

    /// A path in the mount.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Mounts again with the same options.
    pub fn mount(&mut self) {
        let mut run = Run::new(&self.program).args(["mount", "--extension", &self.extension]);
        if !self.options.is_empty() {
            run = run.args(["-o", &self.options]);
        }
        run.arg(&self.lower).arg(&self.dir).ok();
        self.mounted = true;
    }

    /// Somebody has mounted it again.
    pub fn is_mounted(&mut self) {
        self.mounted = true;
    }

    /// Unmounts, as `hsci unmount` does. Waits for processes that have just let go.
    pub fn unmount(&mut self) {
        self.mounted = false;
        let unmount = || Run::new(machine::hsci()).arg("unmount").arg(&self.dir).done();
        let mut done = unmount();
        for _ in 0..20 {
            if done.code != 5 {
                break;
            }
            // A namespace of another test may have been made while the mount was there.
            if done.err.contains("mount namespace") {
                while !machine::workers(&self.lower).is_empty() {
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            done = unmount();
        }
        done.ok();
    }

    /// Unmounts a store that may be damaged: what was written to a damaged file and cannot be stored is named, and
    /// given up.
    pub fn unmount_damaged(&mut self) {
        let unmount = || Run::new(machine::hsci()).arg("unmount").arg(&self.dir);
        let done = unmount().done();
        if done.code == 7 {
            done.fails(7, &["stays mounted", "damaged"]);
            unmount().arg("--force").ok();
        } else {
            done.ok();
        }
        self.mounted = false;
    }

    /// Unmounts and mounts again: all caches are cold then.
    pub fn remount(&mut self) {
        self.unmount();
        self.mount();
    }

    /// Runs `hsci ARGUMENTS DIR`.
    pub fn hsci<const N: usize>(&self, arguments: [&str; N]) -> Done {
        Run::new(&self.program).args(arguments).arg(&self.dir).done()
    }

    /// Settles everything now.
    pub fn settle(&self) {
        hsci(["settle"], &self.dir).ok();
    }

    /// What `hsci status --json DIR` says of this mount.
    ///
    /// # Panics
    /// If it is no JSON.
    #[must_use]
    pub fn status(&self) -> serde_json::Value {
        let text = hsci(["status", "--json"], &self.dir).ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("status: {error}: {text}"))
    }

    /// What `hsci usage --json DIR` says.
    ///
    /// # Panics
    /// If it is no JSON.
    #[must_use]
    pub fn usage(&self) -> serde_json::Value {
        let text = hsci(["usage", "--json"], &self.dir).ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("usage: {error}: {text}"))
    }

    /// Checks the unmounted store, which must be sound; extensions that keep nothing have none.
    pub fn check(&self) {
        assert!(!self.mounted, "unmount first");
        if self.lower.join(".hsci").exists() {
            let check = Run::new(&self.program).arg("check").arg(&self.lower);
            let check = match self.options.is_empty() {
                true => check,
                false => check.args(["-o", &self.options]),
            };
            check.ok();
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            let done = hsci(["unmount"], &self.dir);
            if done.code != 0 {
                let _ = Run::new("umount").arg("-l").arg(&self.dir).done();
            }
        }
    }
}

/// Runs `hsci ARGUMENTS PATH`.
pub fn hsci<const N: usize>(arguments: [&str; N], path: &Path) -> Done {
    Run::new(machine::hsci()).args(arguments).arg(path).done()
}
